// SPDX-License-Identifier: Apache-2.0
#include "server/upstream/request_model.h"

#include "gtest/gtest.h"

namespace hadal::upstream {
namespace {

TEST(RequestModelTest, ReplacesTheValueAndNothingElse) {
  EXPECT_EQ(WithModel(R"( {"a" : [1, {"model": "no"}],"model" :"old" , "b":"\"model\":\"no\""} )", "new"),
            R"( {"a" : [1, {"model": "no"}],"model" :"new" , "b":"\"model\":\"no\""} )");
  EXPECT_EQ(WithModel(R"({"model":null})", "new"), R"({"model":"new"})");
  EXPECT_EQ(WithModel(R"({"model":{"deep":[{}]},"x":1})", "new"), R"({"model":"new","x":1})");
}

TEST(RequestModelTest, AddsAMissingOne) {
  EXPECT_EQ(WithModel(R"({"prompt":"x"})", "new"), R"({"model":"new","prompt":"x"})");
  EXPECT_EQ(WithModel("{ }", "new"), R"({"model":"new" })");
}

TEST(RequestModelTest, FindsAKeyHoweverItIsWritten) {
  EXPECT_EQ(WithModel(R"({"mod\u0065l":"old"})", "new"), R"({"mod\u0065l":"new"})");
  EXPECT_EQ(WithModel(R"({"model":"a","model":"b"})", "new"), R"({"model":"new","model":"new"})");
  EXPECT_EQ(WithModel(R"({"models":"a","mode":"b"})", "new"), R"({"model":"new","models":"a","mode":"b"})");
}

TEST(RequestModelTest, QuotesTheName) { EXPECT_EQ(WithModel("{}", "a\"b\\c\n"), "{\"model\":\"a\\\"b\\\\c\\u000a\"}"); }

TEST(RequestModelTest, RefusesWhatIsNoObject) {
  for (const char* body : {"", " ", "[]", "1", "{", R"({"a)", R"({"a":)", R"({"a":})", R"({"a":1)", R"({"a":1,})",
                           R"({a:1})", R"({"a" 1})", R"({"a":[1)", R"({"a":"\)"}) {
    EXPECT_EQ(WithModel(body, "new"), std::nullopt) << body;
  }
}

TEST(RequestModelTest, DeepNestingTakesNoStack) {
  const std::string deep = "{\"a\":" + std::string(1 << 20, '[') + std::string(1 << 20, ']') + "}";
  EXPECT_TRUE(WithModel(deep, "new").has_value());
}

}  // namespace
}  // namespace hadal::upstream
