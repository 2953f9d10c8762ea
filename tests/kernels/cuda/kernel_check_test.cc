// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/kernel_check.h"

#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/half.h"

namespace hadal::kernels::cuda {
namespace {

std::vector<BF16> Values(const std::vector<float>& values) {
  std::vector<BF16> out;
  for (const float value : values) out.push_back(ToBF16(value));
  return out;
}

std::optional<KernelDifference> Differ(const std::vector<float>& found, const std::vector<float>& expected) {
  return FindDifference(DType::kBF16, Values(found).data(), Values(expected).data(),
                        static_cast<int64_t>(found.size()));
}

TEST(KernelCheckTest, AllowsWhatRoundingExplains) {
  EXPECT_FALSE(Differ({4.0f, 0.1f, -1.0f}, {4.0f, 0.0f, -1.0625f}).has_value());
  EXPECT_FALSE(Differ({}, {}).has_value());
  EXPECT_FALSE(Differ({0.0f}, {0.0f}).has_value());
  const float nan = std::nanf(""), infinity = std::numeric_limits<float>::infinity();
  EXPECT_FALSE(Differ({nan, 1.0f}, {infinity, 1.0f}).has_value());
}

TEST(KernelCheckTest, NamesTheLargestDifference) {
  const auto difference = Differ({4.0f, 0.25f, 1.0f}, {4.0f, 0.0f, 0.5f});
  ASSERT_TRUE(difference.has_value());
  EXPECT_EQ(difference->index, 2);
  EXPECT_EQ(difference->found, 1.0f);
  EXPECT_EQ(difference->expected, 0.5f);
  EXPECT_EQ(Differ({1.0f, std::nanf("")}, {1.0f, 2.0f})->index, 1);
  EXPECT_TRUE(Differ({1e-3f}, {0.0f}).has_value());  // nothing is expected, so nothing is allowed
  const std::vector<F16> found = {ToF16(1.0f)}, expected = {ToF16(1.01f)};
  EXPECT_TRUE(FindDifference(DType::kF16, found.data(), expected.data(), 1).has_value());
}

}  // namespace
}  // namespace hadal::kernels::cuda
