// SPDX-License-Identifier: Apache-2.0
#include "models/jinja/value.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/jinja/json_value.h"

namespace hadal::jinja {
namespace {

using ::testing::HasSubstr;

bool Same(const Value& a, const Value& b) {
  uint64_t steps = 1000;
  return Equal(a, b, &steps);
}

TEST(ValueTest, NumbersAreEqualAsInPython) {
  EXPECT_TRUE(Same(Value::Int(1), Value::Float(1.0)));
  EXPECT_TRUE(Same(Value::Bool(true), Value::Int(1)));
  EXPECT_FALSE(Same(Value::Int(1), Value::String("1", false)));
  EXPECT_FALSE(Same(Value::None{}, Value::Int(0)));
}

TEST(ValueTest, TextsAreEqualWhoeverWroteThem) {
  EXPECT_TRUE(Same(Value::String("a", true), Value::String("a", false)));
}

TEST(ValueTest, ListsHaveTheirKind) {
  EXPECT_TRUE(Same(MakeList({Value::Int(1)}), MakeList({Value::Int(1)})));
  EXPECT_FALSE(Same(MakeList({}), MakeList({}, ListKind::kTuple)));
  EXPECT_TRUE(Value(MakeList({}, ListKind::kGenerator)).IsTrue());
  EXPECT_FALSE(Value(MakeList({})).IsTrue());
}

TEST(ValueTest, ComparingIsBounded) {
  Value a = MakeList({Value::Int(1)}), b = MakeList({Value::Int(1)});
  for (int i = 0; i < 60; ++i) {
    a = MakeList({a, a});
    b = MakeList({b, b});
  }
  uint64_t steps = 10'000;
  EXPECT_FALSE(Equal(a, b, &steps));
  EXPECT_EQ(steps, 0u);
}

TEST(ValueTest, DictsKeepTheOrderAndFindEveryKey) {
  DictData dict;
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 500; ++i) dict.Set(Value::String("k" + std::to_string(i), false), Value::Int(i + round));
  }
  dict.Set(Value::Int(7), Value::None{});
  ASSERT_EQ(dict.items.size(), 501u);
  for (int i = 0; i < 500; ++i) {
    const Value* found = dict.Find("k" + std::to_string(i));
    ASSERT_NE(found, nullptr);
    EXPECT_TRUE(Same(*found, Value::Int(i + 1)));
    EXPECT_EQ(dict.items[static_cast<size_t>(i)].first.AsText()->bytes(), "k" + std::to_string(i));
  }
  EXPECT_NE(dict.Find(Value::Int(7)), nullptr);
  EXPECT_EQ(dict.Find("x"), nullptr);
}

TEST(ValueTest, JsonBecomesValues) {
  const auto value = FromJson(R"({"b": [1, 18446744073709551615, 1.5, null, true], "a": "x", "b": "last"})", true);
  ASSERT_TRUE(value.ok()) << value.status();
  ASSERT_EQ(value->AsDict()->items.size(), 2u);
  EXPECT_EQ(value->AsDict()->Find("b")->AsText()->bytes(), "last");
  EXPECT_TRUE(value->AsDict()->Find("a")->AsText()->IsInput(0));
  EXPECT_THAT(std::string(FromJson("{", false).status().message()), HasSubstr("not valid JSON"));
  EXPECT_FALSE(FromJson(std::string(200, '[') + std::string(200, ']'), false).ok());
}

}  // namespace
}  // namespace hadal::jinja
