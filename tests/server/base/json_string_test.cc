// SPDX-License-Identifier: Apache-2.0
#include "server/base/json_string.h"

#include "gtest/gtest.h"

namespace hadal::base {
namespace {

TEST(JsonStringTest, EscapesWhatMayNotStandInAString) {
  std::string out = "x:";
  AppendJsonQuoted("a\"b\\c\n\x01\x1f", &out);
  EXPECT_EQ(out, "x:\"a\\\"b\\\\c\\u000a\\u0001\\u001f\"");
}

TEST(JsonStringTest, LeavesAllElse) {
  std::string out;
  AppendJsonQuoted("/ä 服 😀\x7f", &out);
  EXPECT_EQ(out, "\"/ä 服 😀\x7f\"");
}

}  // namespace
}  // namespace hadal::base
