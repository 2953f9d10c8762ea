// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/client/call_additions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hadal::bench {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(CallAdditionsTest, AHeaderIsANameAndAllBehindTheFirstEqualsSign) {
  const auto field = ParseHeaderField("Api-Key=a=b c");
  ASSERT_TRUE(field.ok()) << field.status();
  EXPECT_EQ(field->name, "api-key");
  EXPECT_EQ(field->value, "a=b c");
  EXPECT_EQ(ParseHeaderField("x=")->value, "");
}

TEST(CallAdditionsTest, WhatNoHeaderMayHoldIsRefused) {
  for (const char* text : {"", "x", "=v", "a b=v", "x=a\r\nhost: b", "x=\x7f", "Host=h", "content-length=3"}) {
    EXPECT_FALSE(ParseHeaderField(text).ok()) << text;
  }
  EXPECT_THAT(std::string(ParseHeaderField("key\n=secret").status().message()), Not(HasSubstr("secret")));
}

TEST(CallAdditionsTest, MembersOfAnObjectAreTakenAsTheyAre) {
  EXPECT_EQ(*ParseBodyMembers(R"( {"temperature": 0, "a": {"b": [1, "x"]}} )"), R"("temperature":0,"a":{"b":[1,"x"]})");
  EXPECT_EQ(*ParseBodyMembers("{}"), "");
}

TEST(CallAdditionsTest, OthersAndOurOwnMembersAreNamed) {
  for (const char* text : {"", "[]", "7", "{", R"({"a":1} x)"}) {
    EXPECT_THAT(std::string(ParseBodyMembers(text).status().message()), HasSubstr("JSON object")) << text;
  }
  EXPECT_THAT(std::string(ParseBodyMembers(R"({"seed":1,"stream":false})").status().message()),
              HasSubstr("found 'stream'"));
}

}  // namespace
}  // namespace hadal::bench
