// SPDX-License-Identifier: Apache-2.0
#include "server/http/request_target.h"

#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace hadal::http {
namespace {

using request::Reason;

TEST(RequestTargetTest, EachFormGivesItsPath) {
  EXPECT_EQ(PathOfTarget("GET", "/a?b").value(), "/a?b");
  EXPECT_EQ(PathOfTarget("GET", "/a//b://c").value(), "/a//b://c");
  EXPECT_EQ(PathOfTarget("GET", "http://h").value(), "/");
  EXPECT_EQ(PathOfTarget("GET", "http://h?x").value(), "/?x");
  EXPECT_EQ(PathOfTarget("POST", "hTTp://h:80/a").value(), "/a");
  EXPECT_EQ(PathOfTarget("POST", "https://[2001:db8::1]:80/a").value(), "/a");
  EXPECT_EQ(PathOfTarget("OPTIONS", "*").value(), "*");
}

TEST(RequestTargetTest, RefusesTheRest) {
  for (const char* target : {"", "a", "h:80", "*", "/a#b", "http:/a", "http:///a", "http://u@h/", "http://h:x/",
                             "ftp://h/a", "://h/a", "http://[h]/", "http://[::1/"}) {
    EXPECT_REASON(PathOfTarget("GET", target).status(), Reason::kInvalidRequest) << target;
  }
  EXPECT_REASON(PathOfTarget("CONNECT", "h:80").status(), Reason::kUnsupported);
}

TEST(RequestTargetTest, KnowsAnAuthority) {
  for (const char* text : {"h", "h.example:8000", "127.0.0.1", "[::1]", "[::1]:80", "h:", "a%20b"}) {
    EXPECT_TRUE(IsAuthority(text)) << text;
  }
  for (const char* text : {"", ":80", "a b", "a/b", "a@b", "a,b:x", "[]", "[::1]x", "[::1", "h:123456", "h:8 "}) {
    EXPECT_FALSE(IsAuthority(text)) << text;
  }
}

}  // namespace
}  // namespace hadal::http
