// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "models/config/config.h"
#include "tests/models/config/parsing.h"

namespace hadal::config {
namespace {

using kernels::RopeScaling;
using ::testing::HasSubstr;

TEST(SoftmaxMoeConfigTest, ReadsDeepseekMoe) {
  const ModelConfig config = MustParse(kTinyDeepseekMoeConfig);
  EXPECT_EQ(config.family, "deepseek");
  const auto& attention = AttentionAs<GqaConfig>(config);
  EXPECT_EQ(attention.head_dim, 6);
  EXPECT_FALSE(attention.qkv_bias || attention.qk_norm);
  ASSERT_TRUE(config.moe.has_value());
  EXPECT_EQ(config.moe->routed_experts, 7);
  EXPECT_EQ(config.moe->shared_intermediate_size(), 10);
  EXPECT_EQ(config.moe->scoring, RouterScoring::kSoftmax);
  EXPECT_EQ(config.moe->selection, RouterSelection::kGreedy);
  EXPECT_EQ(config.moe->routed_scaling_factor, 1.0);
  EXPECT_FALSE(config.moe->norm_topk_prob || config.moe->correction_bias);
  EXPECT_FALSE(config.IsMoeLayer(0));
  EXPECT_TRUE(config.IsMoeLayer(1));
}

TEST(SoftmaxMoeConfigTest, ReadsDeepseekV2) {
  const ModelConfig config = MustParse(kTinyDeepseekV2Config);
  EXPECT_EQ(config.family, "deepseek_v2");
  const auto& attention = AttentionAs<MlaConfig>(config);
  EXPECT_FALSE(attention.indexer.has_value());
  ASSERT_TRUE(config.moe.has_value());
  EXPECT_EQ(attention.q_lora_rank, 0);
  EXPECT_TRUE(attention.rope_interleaved);
  EXPECT_EQ(config.moe->selection, RouterSelection::kGroupLimitedGreedy);
  EXPECT_EQ(config.moe->groups, 3);
  EXPECT_EQ(config.moe->groups_per_token, 2);
  EXPECT_EQ(config.moe->routed_scaling_factor, 16.0);
  EXPECT_EQ(config.moe->scoring, RouterScoring::kSoftmax);
  EXPECT_EQ(attention.rope.scaling, RopeScaling::kYarn);
  EXPECT_EQ(attention.rope.mscale_all_dim, 0.707);
  EXPECT_EQ(attention.rope.dim, 4);
  EXPECT_EQ(config.mtp_layers, 0);
}

TEST(SoftmaxMoeConfigTest, GreedyRoutingIgnoresGroups) {
  const ModelConfig config = MustParse(With(kTinyDeepseekV2Config, R"("group_limited_greedy")", R"("greedy")"));
  EXPECT_EQ(config.moe->selection, RouterSelection::kGreedy);
  EXPECT_EQ(config.moe->groups, 1);
}

// The published code divides the weights of more than one expert only; a single one keeps its probability, scaled.
TEST(SoftmaxMoeConfigTest, NormalisesMoreThanOneExpertOnly) {
  const std::string text = With(kTinyDeepseekV2Config, R"("norm_topk_prob": false)", R"("norm_topk_prob": true)");
  EXPECT_TRUE(MustParse(text).moe->norm_topk_prob);
  EXPECT_FALSE(MustParse(With(text, R"("num_experts_per_tok": 3)", R"("num_experts_per_tok": 1)")).moe->norm_topk_prob);
}

TEST(SoftmaxMoeConfigTest, NullExpertsMeanDenseLayers) {
  for (const char* base : {kTinyDeepseekMoeConfig, kTinyDeepseekV2Config}) {
    const ModelConfig config = MustParse(With(base, R"("n_routed_experts": )", R"("n_routed_experts": null, "was": )"));
    EXPECT_FALSE(config.moe.has_value());
    EXPECT_FALSE(config.IsMoeLayer(1));
  }
}

class BadSoftmaxMoeFieldTest : public ::testing::TestWithParam<BadField> {};

TEST_P(BadSoftmaxMoeFieldTest, IsNamedWithExpectedAndFound) { ExpectRefused(GetParam()); }

constexpr auto& kMoe = kTinyDeepseekMoeConfig;
constexpr auto& kV2 = kTinyDeepseekV2Config;

INSTANTIATE_TEST_SUITE_P(
    Fields, BadSoftmaxMoeFieldTest,
    ::testing::Values(
        BadField{kMoe, R"("num_experts_per_tok": 3)", R"("num_experts_per_tok": 8)",
                 "num_experts_per_tok: expected at most the 7 experts of topk_group groups, found 8"},
        BadField{kMoe, R"("scoring_func": "softmax")", R"("scoring_func": "sigmoid")",
                 "scoring_func: deepseek has softmax, found \"sigmoid\""},
        BadField{kMoe, R"("n_routed_experts": 7)", R"("n_routed_experts": 0)", "n_routed_experts: expected an integer"},
        BadField{kV2, R"("n_routed_experts": 9, )", "",
                 "n_routed_experts: expected an integer, or null for dense layers only, found nothing"},
        BadField{kV2, R"("n_shared_experts": 2, )", "",
                 "n_shared_experts: expected an integer, or null for none, found nothing"},
        BadField{kV2, R"("n_group": 3)", R"("n_group": 2)",
                 "n_group: expected a divisor of n_routed_experts, 9, found 2"},
        BadField{kV2, R"("n_group": 3)", R"("n_group": null)",
                 "n_group: expected an integer in [1, 4096], found nothing"},
        BadField{kV2, R"("topk_group": 2)", R"("topk_group": 4)", "topk_group: expected at most n_group, 3, found 4"},
        BadField{kV2, R"("num_experts_per_tok": 3)", R"("num_experts_per_tok": 7)",
                 "num_experts_per_tok: expected at most the 6 experts of topk_group groups, found 7"},
        BadField{kV2, R"("topk_method": "group_limited_greedy")", R"("topk_method": "noaux_tc")",
                 "topk_method: deepseek_v2 has greedy and group_limited_greedy, found \"noaux_tc\""},
        BadField{kV2, R"("scoring_func": "softmax")", R"("scoring_func": "sigmoid")",
                 "scoring_func: deepseek_v2 has softmax, found \"sigmoid\""},
        BadField{kV2, R"("norm_topk_prob": false)", R"("mlp_bias": true)",
                 "mlp_bias: deepseek_v2 has none, found true"}));

}  // namespace
}  // namespace hadal::config
