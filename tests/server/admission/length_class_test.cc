// SPDX-License-Identifier: Apache-2.0
#include "server/admission/length_class.h"

#include <gtest/gtest.h>

#include <string>

namespace hadal::admission {
namespace {

TEST(LengthClassTest, ABoundBelongsToTheShorterClass) {
  EXPECT_EQ(LengthClassName(0), "256");
  EXPECT_EQ(LengthClassName(256), "256");
  EXPECT_EQ(LengthClassName(257), "1k");
  EXPECT_EQ(LengthClassName(16384), "16k");
  EXPECT_EQ(LengthClassName(INT64_MAX), "more");
}

TEST(LengthClassTest, TheIndexIsThatOfTheSeries) {
  const std::vector<base::LabelValues> series = ClassAndLengthSeries();
  for (const request::Priority priority : {request::Priority::kHigh, request::Priority::kBatch}) {
    for (const int64_t tokens : {1, 300, 3000, 9000, 90000}) {
      const base::LabelValues& values = series.at(ClassAndLengthIndex(priority, tokens));
      EXPECT_EQ(values[0], request::kPriorityNames[static_cast<size_t>(priority)]);
      EXPECT_EQ(values[1], LengthClassName(tokens));
    }
  }
}

}  // namespace
}  // namespace hadal::admission
