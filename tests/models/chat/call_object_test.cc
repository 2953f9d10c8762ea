// SPDX-License-Identifier: Apache-2.0
#include "models/chat/call_object.h"

#include <gtest/gtest.h>

namespace hadal::chat {
namespace {

TEST(CallObjectTest, ReadsNameAndArguments) {
  const auto arguments = [](const char* text) -> std::string {
    CallObject call;
    if (!ReadCallObject(text, &call)) return "no call";
    return call.name + " " + call.arguments.value_or("none");
  };
  EXPECT_EQ(arguments(R"({"name": "f", "arguments": {"x": 1.10}})"), R"(f {"x": 1.10})");
  EXPECT_EQ(arguments(R"({"parameters": {}, "name": "f", "id": [1]})"), "f {}");
  EXPECT_EQ(arguments(R"({"name": "f", "arguments": "{\"x\": 1}"})"), R"(f {"x": 1})");
  EXPECT_EQ(arguments(R"({"name": "f", "arguments": null})"), "f {}");
  EXPECT_EQ(arguments(R"({"name": "f"})"), "f none");
  for (const char* text : {"", "{}", R"({"name": ""})", R"({"name": 1})", R"(["name", "f"])", R"({"name": "f"}})"}) {
    EXPECT_EQ(arguments(text), "no call") << text;
  }
}

TEST(CallObjectTest, ExtentEndsWhereTheValueDoes) {
  const std::string text = R"({"a": ["}\"{", {"b\\": "]"}]} {)";
  JsonExtent whole;
  EXPECT_EQ(whole.Find(text), text.size() - 2);
  EXPECT_EQ(whole.Find(text), text.size() - 2);
  JsonExtent growing;
  for (size_t size = 0; size < text.size() - 2; ++size) {
    ASSERT_EQ(growing.Find(std::string_view(text).substr(0, size)), std::string_view::npos) << size;
  }
  EXPECT_EQ(growing.Find(text), text.size() - 2);
  JsonExtent cut;
  EXPECT_EQ(cut.Find(R"({"a": "}\")"), std::string_view::npos);
  EXPECT_TRUE(cut.in_string());
}

}  // namespace
}  // namespace hadal::chat
