// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/report/capacity_search.h"

#include <gtest/gtest.h>

#include <vector>

namespace hadal::bench {
namespace {

// The rates that a search asks for when everything up to `truth` meets the condition.
std::vector<double> Rates(CapacitySearch* search, double truth) {
  std::vector<double> rates;
  while (const auto rate = search->NextRate()) {
    rates.push_back(*rate);
    search->Add(*rate, *rate <= truth);
  }
  return rates;
}

TEST(CapacitySearchTest, DoublesThenClosesIn) {
  CapacitySearch search(1, 0.05, 50);
  const auto rates = Rates(&search, 37);
  EXPECT_EQ(std::vector<double>(rates.begin(), rates.begin() + 7), (std::vector<double>{1, 2, 4, 8, 16, 32, 64}));
  EXPECT_LE(search.capacity(), 37);
  EXPECT_GE(search.capacity(), 37 / 1.05);
  EXPECT_TRUE(search.bounded());
  EXPECT_LE(rates.size(), 13u);
}

TEST(CapacitySearchTest, GoesDownFromAStartThatIsTooHigh) {
  CapacitySearch search(100, 0.05, 50);
  Rates(&search, 3);
  EXPECT_LE(search.capacity(), 3);
  EXPECT_GE(search.capacity(), 3 / 1.05);
}

TEST(CapacitySearchTest, EndsWithoutAnAnswer) {
  CapacitySearch never(8, 0.05, 5);
  EXPECT_EQ(Rates(&never, 0).size(), 5u);
  EXPECT_EQ(never.capacity(), 0);
  CapacitySearch always(1, 0.05, 5);
  Rates(&always, 1e9);
  EXPECT_EQ(always.capacity(), 16);
  EXPECT_FALSE(always.bounded());
}

}  // namespace
}  // namespace hadal::bench
