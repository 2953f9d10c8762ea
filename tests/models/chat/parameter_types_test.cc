// SPDX-License-Identifier: Apache-2.0
#include "models/chat/parameter_types.h"

#include <gtest/gtest.h>

namespace hadal::chat {
namespace {

ParameterType TypeOf(const std::string& schema, const std::string& definitions = "{}") {
  const ChatTool tool{.name = "f",
                      .parameters_json = R"({"properties": {"x": )" + schema + R"(}, "$defs": )" + definitions + "}"};
  return ParameterTypes({tool}).Find("f", "x");
}

TEST(ParameterTypesTest, ReadsTheTypesOfASchema) {
  using T = ParameterType;
  EXPECT_TRUE(TypeOf(R"({"type": "string", "description": "d"})").free_text());
  EXPECT_FALSE(TypeOf(R"({"type": "string", "maxLength": 4})").free_text());
  EXPECT_EQ(TypeOf(R"({"type": "integer"})").bits, T::kNumber);
  EXPECT_EQ(TypeOf(R"({"type": ["string", "null"]})").bits, T::kString | T::kNull);
  EXPECT_EQ(TypeOf(R"({"type": "integer", "nullable": true})").bits, T::kNumber | T::kNull);
  EXPECT_EQ(TypeOf(R"({"type": "integer", "nullable": false})").bits, T::kNumber);
  EXPECT_EQ(TypeOf(R"({"enum": ["a", 1, null]})").bits, T::kString | T::kNumber | T::kNull);
  EXPECT_EQ(TypeOf(R"({"const": true})").bits, T::kBoolean);
  EXPECT_EQ(TypeOf(R"({"anyOf": [{"type": "array"}, {"oneOf": [{"type": "object"}]}]})").bits, T::kArray | T::kObject);
  EXPECT_EQ(TypeOf(R"({"$ref": "#/$defs/n"})", R"({"n": {"type": "number"}})").bits, T::kNumber);
  // What says nothing, or turns in a circle, allows everything.
  for (const char* schema : {"{}", "true", R"({"$ref": "#/$defs/no"})", R"({"$ref": "#/$defs/a"})", R"({"type": 5})"}) {
    EXPECT_EQ(TypeOf(schema, R"({"a": {"$ref": "#/$defs/a"}})").bits, T::kAny) << schema;
  }
}

TEST(ParameterTypesTest, UndeclaredIsFreeText) {
  const ParameterTypes types({{.name = "f", .parameters_json = "no json"}, {.name = "g"}});
  EXPECT_TRUE(types.Find("f", "x").free_text());
  EXPECT_TRUE(types.Find("g", "x").free_text());
  EXPECT_TRUE(types.Find("h", "x").free_text());
}

TEST(ParameterTypesTest, ValuesTakeTheTypeOfTheirSchema) {
  using T = ParameterType;
  const auto json = [](const char* text, int bits, bool constrained = false) {
    return ParameterJson(text, {.bits = static_cast<uint8_t>(bits), .constrained = constrained});
  };
  EXPECT_EQ(json(" 12\n", T::kNumber), "12");
  EXPECT_EQ(json("12", T::kString | T::kNull), "\"12\"");
  EXPECT_EQ(json("12", T::kString | T::kNumber), "12");
  EXPECT_EQ(json("TRUE", T::kBoolean), "true");
  EXPECT_EQ(json("True", T::kString | T::kNumber), "\"True\"");
  EXPECT_EQ(json("None", T::kNumber | T::kNull), "null");
  EXPECT_EQ(json("[1, {}]", T::kArray), "[1, {}]");
  EXPECT_EQ(json("[1, {}", T::kArray), "\"[1, {}\"");
  EXPECT_EQ(json("\"q\"", T::kNumber), "\"q\"");
  EXPECT_EQ(json("\"q\"", T::kAny), "\"\\\"q\\\"\"");
  EXPECT_EQ(json(" a ", T::kString | T::kNull), "\" a \"");
  EXPECT_EQ(json(" a ", T::kString, /*constrained=*/true), "\"a\"");
}

}  // namespace
}  // namespace hadal::chat
