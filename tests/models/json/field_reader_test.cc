// SPDX-License-Identifier: Apache-2.0
#include "models/json/field_reader.h"

#include "gtest/gtest.h"
#include "models/json/json_document.h"

namespace hadal::json {
namespace {

TEST(FieldReaderTest, KeepsTheFirstErrorAndGoesOn) {
  const auto document =
      JsonDocument::Parse(R"({"n": 7, "s": "x", "in": {"r": 1.5, "l": ["a", 1]}, "z": null})", "a.json");
  ASSERT_TRUE(document.ok()) << document.status();
  FieldReader fields((*document)->root());
  EXPECT_EQ(fields.Int("n", 0, 10), 7);
  EXPECT_EQ(fields.IntOr("z", 3, 0, 10), 3) << "null counts as absent";
  EXPECT_TRUE(fields.HasKey("z"));
  EXPECT_FALSE(fields.Has("z"));
  EXPECT_TRUE(fields.status().ok());
  EXPECT_EQ(fields.Int("s", 4, 10), 4) << "the lowest legal value";
  EXPECT_EQ(fields.Int("missing", 0, 10), 0);
  EXPECT_EQ(fields.status().message(), "a.json: s: expected an integer in [4, 10], found \"x\"");
}

TEST(FieldReaderTest, NamesFieldsOfAnObjectInside) {
  const auto document = JsonDocument::Parse(R"({"in": {"r": 1.5, "l": ["a", 1]}})", "a.json");
  ASSERT_TRUE(document.ok()) << document.status();
  FieldReader fields((*document)->root());
  const std::optional<JsonField> in = fields.OptionalObject("in");
  ASSERT_TRUE(in.has_value());
  FieldReader reader(*in);
  reader.Int("r", 0, 2);
  EXPECT_EQ(reader.status().message(), "a.json: in.r: expected an integer in [0, 2], found 1.5");
  FieldReader list(*in);
  list.StringList("l", 2);
  EXPECT_EQ(list.status().message(), "a.json: in.l: expected a list of strings, found in it 1");
  FieldReader wrong((*document)->root());
  EXPECT_EQ(wrong.OptionalString("in"), std::nullopt);
  EXPECT_EQ(wrong.status().message(), "a.json: in: expected a string, found an object");
}

}  // namespace
}  // namespace hadal::json
