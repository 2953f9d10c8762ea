// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "models/checkpoint/tensor_spec.h"
#include "models/config/config.h"
#include "tests/models/config/parsing.h"
#include "tests/models/outline.h"

namespace hadal::config {
namespace {

TEST(DeepseekV32ConfigTest, ReadsThePublishedFields) {
  const ModelConfig config = MustParse(kDeepseekV32Config);
  EXPECT_EQ(config.family, "deepseek_v32");
  const auto& attention = AttentionAs<MlaConfig>(config);
  EXPECT_EQ(attention.q_lora_rank, 1536);
  EXPECT_TRUE(attention.rope_interleaved);
  ASSERT_TRUE(attention.indexer.has_value());
  EXPECT_EQ(attention.indexer->heads, 64);
  EXPECT_EQ(attention.indexer->head_dim, 128);
  EXPECT_EQ(attention.indexer->top_k, 2048);
  ASSERT_TRUE(config.moe.has_value());
  EXPECT_EQ(config.moe->selection, RouterSelection::kNoAuxTc);
  EXPECT_TRUE(config.fp8.has_value());
  EXPECT_EQ(config.mtp_layers, 1);
  EXPECT_TRUE(config.warnings.empty());
}

TEST(DeepseekV32ConfigTest, CountsThePublishedParametersAndCacheBytes) {
  const ModelConfig config = MustParse(kDeepseekV32Config);
  const checkpoint::ParameterTotals totals = models::testing::Outline(config)->totals();
  // DeepSeek-V3's and, in 61 layers, wq_b, wk, k_norm and weights_proj.
  EXPECT_EQ(totals.parameters, 671'026'419'200 + 61 * (64 * 128 * 1536 + 128 * 7168 + 2 * 128 + int64_t{64} * 7168));
  EXPECT_EQ(std::round(totals.parameters / 1e6), 671'878);
  EXPECT_NEAR(totals.active / 1e9, 37.476, 0.0005);
  EXPECT_EQ(models::testing::Outline(config)->kv_layout().bytes_per_token(), 70'272 + 61 * 128 * 2);
}

TEST(DeepseekV32ConfigTest, NamesTheIndexersTensors) {
  const ModelConfig config = MustParse(kDeepseekV32Config);
  std::vector<std::string> found;
  for (const checkpoint::TensorSpec& spec : models::testing::ExpectedTensors(config)) {
    if (spec.name.find("layers.60.self_attn.indexer.") == std::string::npos) continue;
    std::string line = spec.name.substr(std::string("model.layers.60.self_attn.indexer.").size());
    for (int64_t size : spec.shape) line += " " + std::to_string(size);
    found.push_back(line);
  }
  EXPECT_THAT(found, ::testing::ElementsAre("wq_b.weight 8192 1536", "wk.weight 128 7168", "k_norm.weight 128",
                                            "k_norm.bias 128", "weights_proj.weight 64 7168"));
  EXPECT_TRUE(checkpoint::IsMtpLayerTensor(config, "model.layers.61.self_attn.indexer.wq_b.weight"));
  EXPECT_TRUE(checkpoint::IsMtpLayerTensor(config, "model.layers.61.self_attn.indexer.wq_b.weight_scale_inv"));
  EXPECT_FALSE(checkpoint::IsMtpLayerTensor(config, "model.layers.60.self_attn.indexer.wq_b.weight"));
}

TEST(DeepseekV32ConfigTest, TakesLayerListsThatRepeatTheOtherFields) {
  const ModelConfig config = MustParse(With(kTinyDeepseekV32Config, R"("vocab_size": 11)",
                                            R"("vocab_size": 11, "mlp_layer_types": ["dense", "sparse"],
                        "layer_types": ["indexed_attention", "indexed_attention"])"));
  EXPECT_FALSE(config.IsMoeLayer(0));
  EXPECT_TRUE(config.IsMoeLayer(1));
}

class DeepseekV32BadFieldTest : public ::testing::TestWithParam<BadField> {};

TEST_P(DeepseekV32BadFieldTest, IsNamedWithExpectedAndFound) { ExpectRefused(GetParam()); }

constexpr auto& kTiny = kTinyDeepseekV32Config;

INSTANTIATE_TEST_SUITE_P(
    Fields, DeepseekV32BadFieldTest,
    ::testing::Values(
        BadField{kTiny, R"("index_topk": 3, )", "", "index_topk: expected an integer in [1, 16777216], found nothing"},
        BadField{kTiny, R"("index_topk": 3)", R"("index_topk": 0)",
                 "index_topk: expected an integer in [1, 16777216], found 0"},
        BadField{kTiny, R"("index_n_heads": 3)", R"("index_n_heads": null)", "index_n_heads: expected an integer"},
        BadField{kTiny, R"("index_n_heads": 3)", R"("index_n_heads": 5000)",
                 "index_n_heads: expected an integer in [1, 4096]"},
        BadField{kTiny, R"("index_head_dim": 6)", R"("index_head_dim": "6")", "index_head_dim: expected an integer"},
        BadField{kTiny, R"("index_head_dim": 6)", R"("index_head_dim": 3)",
                 "index_head_dim: expected at least qk_rope_head_dim, 4, found 3"},
        BadField{kTiny, R"("q_lora_rank": 9)", R"("q_lora_rank": null)",
                 "q_lora_rank: expected an integer (the indexer's queries come from the q latent), found null"},
        BadField{kTiny, R"("index_topk": 3)", R"("index_topk": 3, "rope_interleave": false)",
                 "rope_interleave: deepseek_v32 rotates neighbouring pairs, found false"},
        BadField{kTiny, R"("index_topk": 3)", R"("index_topk": 3, "scoring_func": "softmax")",
                 "scoring_func: deepseek_v32 has sigmoid, found \"softmax\""},
        BadField{kTiny, R"("index_topk": 3)", R"("index_topk": 3, "topk_method": "greedy")",
                 "topk_method: deepseek_v32 has noaux_tc, found \"greedy\""},
        BadField{kTiny, R"("index_topk": 3)", R"("index_topk": 3, "mlp_layer_types": ["dense"])",
                 "mlp_layer_types: expected a list of num_hidden_layers, 2, found a list of 1"},
        BadField{kTiny, R"("index_topk": 3)", R"("index_topk": 3, "mlp_layer_types": ["sparse", "sparse"])",
                 "mlp_layer_types: expected \"dense\" for layer 0, found \"sparse\""},
        BadField{kTiny, R"("index_topk": 3)",
                 R"("index_topk": 3, "layer_types": ["indexed_attention", "full_attention"])",
                 "layer_types: expected \"indexed_attention\" for layer 1, found \"full_attention\""},
        BadField{kTiny, R"("kv_lora_rank": 5, )", "", "kv_lora_rank: expected an integer"},
        BadField{kTiny, R"("model_type": "deepseek_v32")", R"("model_type": "deepseek_v3")",
                 "model_type: expected \"deepseek_v32\" for DeepseekV32ForCausalLM"},
        BadField{kTiny, R"("weight_block_size": [4, 8])", R"("weight_block_size": [4, 0])", "weight_block_size"}));

}  // namespace
}  // namespace hadal::config
