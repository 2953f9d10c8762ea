// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/moe.h"

#include <cmath>

#include "models/blocks/feed_forward.h"
#include "tests/models/blocks/block_fixture.h"

namespace hadal::models {
namespace {

float Silu(float x) { return x / (1 + std::exp(-x)); }

// Hidden width 1. Expert e turns x into 10^e * silu(x) * x.
class MoeTest : public testing::BlockTest {
 protected:
  MoeTest() {
    config_.hidden_size = 1;
    config_.intermediate_size = 1;
    config_.moe = config::MoeConfig{.routed_experts = 3,
                                    .experts_per_token = 2,
                                    .intermediate_size = 1,
                                    .first_dense_layers = 1,
                                    .norm_topk_prob = true};
    loader_.Set("m.gate.weight", {0, 1, 2});
    float scale = 1;
    for (int e = 0; e < 3; ++e) {
      AddSwiglu(absl::StrCat("m.experts.", e), scale);
      scale *= 10;
    }
    Step(0, 2, 4);
  }

  void AddSwiglu(const std::string& name, float scale) {
    loader_.Set(name + ".gate_proj.weight", {1});
    loader_.Set(name + ".up_proj.weight", {1});
    loader_.Set(name + ".down_proj.weight", {scale});
  }

  std::vector<float> Run(const FeedForwardBlock& block, std::vector<float> x) {
    std::vector<float> out(x.size());
    EXPECT_EQ(block.Forward(forward(), Rows(x, 1), Rows(out, 1)), absl::OkStatus());
    return out;
  }
};

TEST_F(MoeTest, AddsTheChosenExpertsByTheirWeights) {
  const auto moe = Moe::Load(load(), "m");
  ASSERT_TRUE(moe.ok()) << moe.status();
  const std::vector<float> out = Run(**moe, {1, -1});
  // Token 1: logits 0, 1, 2. Token -1: logits 0, -1, -2. The best two of each, softmax renormalised.
  const float high = 1 / (1 + std::exp(-1.0f)), low = 1 - high;
  EXPECT_NEAR(out[0], Silu(1) * (100 * high + 10 * low), 1e-4);
  EXPECT_NEAR(out[1], -Silu(-1) * (1 * high + 10 * low), 1e-5);
}

// DeepSeek-V2 scales only what it has not normalised.
TEST_F(MoeTest, AddsTheSharedExpertsAndScalesTheRoutedOnes) {
  config_.moe->shared_experts = 1;
  config_.moe->routed_scaling_factor = 2;
  AddSwiglu("m.shared_experts", 1000);
  const float total = 1 + std::exp(1.0f) + std::exp(2.0f), best = std::exp(2.0f) / total, next = std::exp(1.0f) / total;
  for (const bool normalised : {false, true}) {
    config_.moe->norm_topk_prob = normalised;
    const auto moe = Moe::Load(load(), "m");
    ASSERT_TRUE(moe.ok()) << moe.status();
    const float factor = normalised ? 1 / (best + next) : 2;
    EXPECT_NEAR(Run(**moe, {1, -1})[0], Silu(1) * (1000 + factor * (100 * best + 10 * next)), 1e-3);
  }
}

TEST_F(MoeTest, TheConfigurationSaysWhichLayersHaveExperts) {
  AddSwiglu("m", 1);
  EXPECT_NE(dynamic_cast<Mlp*>(LoadFeedForward(load(), 0, "m")->get()), nullptr);
  EXPECT_NE(dynamic_cast<Moe*>(LoadFeedForward(load(), 1, "m")->get()), nullptr);
}

}  // namespace
}  // namespace hadal::models
