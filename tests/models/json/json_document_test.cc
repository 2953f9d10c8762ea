// SPDX-License-Identifier: Apache-2.0
#include "models/json/json_document.h"

#include "gtest/gtest.h"

namespace hadal::json {
namespace {

std::string Error(absl::string_view text, const JsonLimits& limits = {}) {
  return std::string(JsonDocument::Parse(text, "a.json", limits).status().message());
}

TEST(JsonDocumentTest, ErrorsNameTheFileAndThePlace) {
  EXPECT_EQ(Error("[]"), "a.json: expected an object, found an array");
  EXPECT_EQ(Error(R"({"a": {"b": 1, "b": 2}})"), "a.json: a.b: expected each key once, found it twice");
  EXPECT_EQ(Error("{").find("a.json: not valid JSON: "), 0u);
  EXPECT_EQ(Error("").find("a.json: not valid JSON: "), 0u);
  EXPECT_EQ(Error("{\"a\": 1,\n \"b\": NaN}"), "a.json: not valid JSON: line 2, column 7: `NaN` is no JSON value");
  EXPECT_EQ(Error("{\"a\": NaN}"), "a.json: not valid JSON: column 7: `NaN` is no JSON value");
}

TEST(JsonDocumentTest, SaysThatAFileIsALfsPointer) {
  EXPECT_EQ(Error("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
                .find("a.json: expected JSON, found a Git LFS pointer"),
            0u);
}

TEST(JsonDocumentTest, KeepsItsLimits) {
  const std::string deep = R"({"a": {"b": {"c": 1}}})";
  EXPECT_EQ(Error(deep, {.max_bytes = 5}), "a.json: expected at most 5 bytes, found 22");
  EXPECT_NE(Error(deep, {.max_depth = 2}), "");
  EXPECT_EQ(Error(deep, {.max_depth = 4}), "");
  EXPECT_EQ(Error(R"({"a": 1, "a": 2})", {.repeated_keys = true}), "");
}

}  // namespace
}  // namespace hadal::json
