// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/norm.h"

#include <cmath>

#include "tests/models/blocks/block_fixture.h"

namespace hadal::models {
namespace {

class NormTest : public testing::BlockTest {};

TEST_F(NormTest, RmsNormWeighsAndAddsTheDelta) {
  loader_.Set("n.weight", {1, 10});
  const auto norm = RmsNorm::Load(load(), "n", 2, 0);
  ASSERT_TRUE(norm.ok()) << norm.status();
  std::vector<float> residual = {3, 4}, delta = {4, -4}, out(2);
  ASSERT_TRUE(norm->AddAndForward(*backend_, Rows(delta, 2), Rows(residual, 2), Rows(out, 2)).ok());
  EXPECT_EQ(residual, (std::vector<float>{7, 0}));
  EXPECT_NEAR(out[0], std::sqrt(2.0f), 1e-6);
  EXPECT_EQ(out[1], 0);
  // Before the first block there is no delta: the residual stays.
  ASSERT_TRUE(norm->AddAndForward(*backend_, {}, Rows(residual, 2), Rows(out, 2)).ok());
  EXPECT_EQ(residual, (std::vector<float>{7, 0}));
  ASSERT_TRUE(RmsNorm::Add(*backend_, Rows(delta, 2), Rows(residual, 2)).ok());
  EXPECT_EQ(residual, (std::vector<float>{11, -4}));
}

TEST_F(NormTest, LayerNormTakesWeightAndBias) {
  loader_.Set("n.weight", {2, 3});
  loader_.Set("n.bias", {10, 20});
  const auto norm = LayerNorm::Load(load(), "n", 2, 0);
  ASSERT_TRUE(norm.ok()) << norm.status();
  std::vector<float> x = {5, 9};
  ASSERT_TRUE(norm->Forward(*backend_, Rows(x, 2), Rows(x, 2)).ok());
  EXPECT_NEAR(x[0], 10 - 2, 1e-5);
  EXPECT_NEAR(x[1], 20 + 3, 1e-5);
}

}  // namespace
}  // namespace hadal::models
