// SPDX-License-Identifier: Apache-2.0
#include "models/grammar/string_slots.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace hadal::grammar {
namespace {

using Json = nlohmann::ordered_json;
using ::testing::HasSubstr;

std::string Format(const Json& schema) { return Json{{"type", "json_schema"}, {"json_schema", schema}}.dump(); }

Json Text(int max) { return {{"type", "string"}, {"maxLength", max}}; }

Json Object(Json properties) {
  return {{"type", "object"},
          {"properties", std::move(properties)},
          {"required", Json::array()},
          {"additionalProperties", false}};
}

TEST(TakeSlots, LeavesFormatsWithoutLengthsAsTheyAre) {
  const std::string format = Format(Object({{"minLength", {{"type", "string"}}}}));
  const auto slotted = TakeSlots(format);
  ASSERT_TRUE(slotted.ok());
  EXPECT_TRUE(slotted->slots.empty());
  EXPECT_EQ(slotted->format, format);
}

TEST(TakeSlots, TakesOnlyBoundedStringsWhereNothingIsReadSideBySide) {
  const auto slotted = TakeSlots(Format(Object({{"a", Text(3)},
                                                {"b", {{"type", "string"}}},
                                                {"c", {{"anyOf", {Text(4), {{"type", "null"}}}}}},
                                                {"d", Text(3)}})));
  ASSERT_TRUE(slotted.ok());
  EXPECT_FALSE(slotted->shared);
  EXPECT_EQ(slotted->slots, (std::vector<StringSlot>{{0, 3, ""}, {0, 4, ""}}));
  EXPECT_THAT(slotted->format, HasSubstr(R"("b":{"type":"string"})"));
}

TEST(TakeSlots, TakesEveryValueWhereBranchesBeginAlike) {
  const auto slotted = TakeSlots(
      Format({{"anyOf", {Object({{"a", Text(3)}, {"k", {{"enum", {"x", 1}}}}}), Object({{"a", Json::object()}})}}}));
  ASSERT_TRUE(slotted.ok());
  EXPECT_TRUE(slotted->shared);
  EXPECT_EQ(slotted->slots,
            (std::vector<StringSlot>{
                {0, 3, ""}, {0, StringSlot::kUnbounded, R"({"enum":["x"]})"}, {0, StringSlot::kUnbounded, ""}}));
}

TEST(TakeSlots, NamesItsLimits) {
  Json branches = Json::array();
  for (int i = 0; i < 65; ++i) branches.push_back(Text(i));
  EXPECT_THAT(
      std::string(TakeSlots(Format({{"anyOf", branches}})).status().message()),
      HasSubstr("65 different kinds of strings, some with a length, and alternatives that begin alike; at most 64"));
  Json properties = Json::object();
  for (int i = 0; i < 65; ++i) properties["p" + std::to_string(i)] = Text(i);
  EXPECT_EQ(TakeSlots(Format(Object(properties)))->slots.size(), 65u);
  EXPECT_THAT(std::string(TakeSlots(Format(Object({{"\U0010FFFE", Text(1)}}))).status().message()),
              HasSubstr("U+10FFFE"));
}

}  // namespace
}  // namespace hadal::grammar
