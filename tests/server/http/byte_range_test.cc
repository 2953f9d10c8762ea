// SPDX-License-Identifier: Apache-2.0
#include "server/http/byte_range.h"

#include <gtest/gtest.h>

namespace hadal::http {
namespace {

using Kind = ByteRange::Kind;

// Of 100 bytes: "whole", "none", or the header of the part.
std::string Of100(std::string_view range) {
  const ByteRange parsed = ParseByteRange(range, 100);
  if (parsed.kind == Kind::kWhole) {
    EXPECT_EQ(parsed.begin, 0) << range;
    EXPECT_EQ(parsed.end, 100) << range;
    return "whole";
  }
  return parsed.kind == Kind::kUnsatisfiable ? "none" : ContentRange(parsed, 100);
}

TEST(ByteRangeTest, ReadsOneRange) {
  EXPECT_EQ(Of100("bytes=0-9"), "bytes 0-9/100");
  EXPECT_EQ(Of100("BYTES=0-0"), "bytes 0-0/100");
  EXPECT_EQ(Of100("bytes=99-"), "bytes 99-99/100");
  EXPECT_EQ(Of100("bytes=90-1000"), "bytes 90-99/100");
  EXPECT_EQ(Of100("bytes=90-99999999999999999999"), "bytes 90-99/100");
  EXPECT_EQ(Of100("bytes=-10"), "bytes 90-99/100");
  EXPECT_EQ(Of100("bytes=-1000"), "bytes 0-99/100");
}

TEST(ByteRangeTest, ARangeBehindTheEndCannotBe) {
  for (const char* range : {"bytes=100-", "bytes=100-200", "bytes=99999999999999999999-", "bytes=-0"}) {
    EXPECT_EQ(Of100(range), "none") << range;
  }
  EXPECT_EQ(ParseByteRange("bytes=0-", 0).kind, Kind::kUnsatisfiable);
  EXPECT_EQ(ContentRange(ParseByteRange("bytes=0-", 0), 0), "bytes */0");
}

TEST(ByteRangeTest, WhatIsNotOneRangeOfBytesIsPassedOver) {
  for (const char* range : {"", "bytes=", "bytes=-", "bytes=a-", "bytes=1-b", "bytes=9-1", "bytes=1-2,4-5", "lines=1-2",
                            "bytes 1-2", "bytes=+1-2", "bytes=1--2", "bytes= 1-2"}) {
    EXPECT_EQ(Of100(range), "whole") << range;
  }
}

}  // namespace
}  // namespace hadal::http
