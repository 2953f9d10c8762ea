// SPDX-License-Identifier: Apache-2.0
#include "models/plan/layer_split.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hadal::plan {
namespace {

using models::LayerRange;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

int64_t Largest(const std::vector<int64_t>& bytes, const std::vector<LayerRange>& ranges) {
  int64_t largest = 0;
  for (const LayerRange& range : ranges) {
    largest = std::max(largest, std::accumulate(bytes.begin() + range.begin, bytes.begin() + range.end, int64_t{0}));
  }
  return largest;
}

// Of all divisions of bytes[begin, ...) into `parts` parts.
int64_t LeastLargest(const std::vector<int64_t>& bytes, size_t begin, int parts) {
  if (parts == 1) return std::accumulate(bytes.begin() + begin, bytes.end(), int64_t{0});
  int64_t least = std::numeric_limits<int64_t>::max();
  for (size_t end = begin + 1; end + parts - 1 <= bytes.size(); ++end) {
    const int64_t own = std::accumulate(bytes.begin() + begin, bytes.begin() + end, int64_t{0});
    least = std::min(least, std::max(own, LeastLargest(bytes, end, parts - 1)));
  }
  return least;
}

TEST(LayerSplitTest, EvensOutWhatEmbeddingAndHeadAdd) {
  const std::vector<int64_t> bytes = {40, 10, 10, 10, 10, 40};
  EXPECT_THAT(*SplitLayersByBytes(bytes, 2), ElementsAre(LayerRange{0, 3}, LayerRange{3, 6}));
  EXPECT_THAT(*SplitLayersByBytes(bytes, 3), ElementsAre(LayerRange{0, 1}, LayerRange{1, 5}, LayerRange{5, 6}));
}

TEST(LayerSplitTest, OnePartHasEverything) {
  EXPECT_THAT(*SplitLayersByBytes({5, 1, 1}, 1), ElementsAre(LayerRange{0, 3}));
}

TEST(LayerSplitTest, NoOtherDivisionHasASmallerLargestPart) {
  std::mt19937 random(3);
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<int64_t> bytes(1 + random() % 9);
    for (int64_t& layer : bytes) layer = random() % 20;
    for (int parts = 1; parts <= static_cast<int>(bytes.size()); ++parts) {
      const auto ranges = SplitLayersByBytes(bytes, parts);
      ASSERT_TRUE(ranges.ok()) << ranges.status();
      ASSERT_EQ(ranges->size(), static_cast<size_t>(parts));
      int64_t next = 0;
      for (const LayerRange& range : *ranges) {
        EXPECT_EQ(range.begin, next);
        EXPECT_GE(range.size(), 1);
        next = range.end;
      }
      EXPECT_EQ(next, static_cast<int64_t>(bytes.size()));
      EXPECT_EQ(Largest(bytes, *ranges), LeastLargest(bytes, 0, parts));
    }
  }
}

TEST(LayerSplitTest, RefusesPartsWithoutALayer) {
  EXPECT_THAT(std::string(SplitLayersByBytes({1, 1}, 3).status().message()),
              HasSubstr("3 parts of a model of 2 layers"));
  EXPECT_FALSE(SplitLayersByBytes({1, 1}, 0).ok());
}

TEST(LayerSplitTest, CountsMustAddUp) {
  EXPECT_THAT(*SplitLayersByCounts(6, {1, 4, 1}), ElementsAre(LayerRange{0, 1}, LayerRange{1, 5}, LayerRange{5, 6}));
  EXPECT_THAT(std::string(SplitLayersByCounts(6, {1, 4}).status().message()),
              HasSubstr("layers 1,4: they add up to 5, expected the model's 6"));
  for (const std::vector<int64_t>& counts : std::vector<std::vector<int64_t>>{{6, 1}, {0, 6}, {-1, 7}, {}}) {
    EXPECT_FALSE(SplitLayersByCounts(6, counts).ok());
  }
}

}  // namespace
}  // namespace hadal::plan
