// SPDX-License-Identifier: Apache-2.0
#include "server/base/percent_decode.h"

#include <gtest/gtest.h>

namespace hadal::base {
namespace {

TEST(PercentDecodeTest, ReadsBytes) {
  EXPECT_EQ(PercentDecode(""), "");
  EXPECT_EQ(PercentDecode("plain+text"), "plain+text");
  EXPECT_EQ(PercentDecode("%41b%2f%2F"), "Ab//");
  EXPECT_EQ(PercentDecode("na%C3%AFve%ff"), "na\xC3\xAFve\xFF");
  EXPECT_EQ(PercentDecode("%00"), std::string(1, '\0'));
  EXPECT_EQ(PercentDecode("%2541"), "%41") << "once only";
}

TEST(PercentDecodeTest, ABrokenSequenceIsNoText) {
  for (const char* broken : {"%", "a%", "%4", "%4g", "%g4", "%%41", "% 41", "%-1"}) {
    EXPECT_EQ(PercentDecode(broken), std::nullopt) << broken;
  }
}

}  // namespace
}  // namespace hadal::base
