// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "models/config/config.h"
#include "tests/models/config/parsing.h"

namespace hadal::config {
namespace {

using kernels::RopeScaling;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

int64_t Count(const HybridAttentionConfig& attention, HybridLayer kind) {
  return std::count(attention.layers.begin(), attention.layers.end(), kind);
}

TEST(DeepseekV4ConfigTest, ReadsThePublishedFlash) {
  const ModelConfig config = MustParse(kDeepseekV4FlashConfig);
  EXPECT_EQ(config.family, "deepseek_v4");
  EXPECT_EQ(config.layers, 43);
  EXPECT_EQ(config.intermediate_size, 0);
  const auto& attention = AttentionAs<HybridAttentionConfig>(config);
  EXPECT_EQ(attention.heads, 64);
  EXPECT_EQ(attention.q_lora_rank, 1024);
  EXPECT_EQ(attention.head_dim, 512);
  EXPECT_EQ(attention.rope_head_dim, 64);
  EXPECT_EQ(attention.o_groups, 8);
  EXPECT_EQ(attention.o_lora_rank, 1024);
  EXPECT_EQ(attention.sliding_window, 128);
  EXPECT_EQ(attention.csa_ratio, 4);
  EXPECT_EQ(attention.hca_ratio, 128);
  // The entry of the layer for multi-token prediction is cut off.
  ASSERT_EQ(attention.layers.size(), 43u);
  EXPECT_EQ(Count(attention, HybridLayer::kSliding), 2);
  EXPECT_EQ(Count(attention, HybridLayer::kCsa), 21);
  EXPECT_EQ(Count(attention, HybridLayer::kHca), 20);
  EXPECT_EQ(attention.layers.back(), HybridLayer::kCsa);
  EXPECT_EQ(attention.sliding_rope.scaling, RopeScaling::kNone);
  EXPECT_EQ(attention.sliding_rope.theta, 10000.0);
  EXPECT_EQ(attention.sliding_rope.dim, 64);
  EXPECT_EQ(attention.compressed_rope.scaling, RopeScaling::kYarn);
  EXPECT_EQ(attention.compressed_rope.theta, 160000.0);
  EXPECT_EQ(attention.compressed_rope.dim, 64);
  EXPECT_EQ(attention.compressed_rope.factor, 16.0);
  EXPECT_EQ(attention.compressed_rope.original_max_positions, 65536);
  EXPECT_EQ(attention.compressed_rope.attention_factor, 1.0);  // cos and sin are not scaled
  ASSERT_TRUE(attention.indexer.has_value());
  EXPECT_EQ(attention.indexer->heads, 64);
  EXPECT_EQ(attention.indexer->head_dim, 128);
  EXPECT_EQ(attention.indexer->top_k, 512);
  ASSERT_TRUE(config.hyper_connections.has_value());
  EXPECT_EQ(config.hyper_connections->streams, 4);
  EXPECT_EQ(config.hyper_connections->sinkhorn_iterations, 20);
  EXPECT_EQ(config.hyper_connections->eps, 1e-6);
  ASSERT_TRUE(config.moe.has_value());
  EXPECT_EQ(config.moe->routed_experts, 256);
  EXPECT_EQ(config.moe->shared_experts, 1);
  EXPECT_EQ(config.moe->experts_per_token, 6);
  EXPECT_EQ(config.moe->intermediate_size, 2048);
  EXPECT_EQ(config.moe->hash_layers, 3);
  EXPECT_EQ(config.moe->swiglu_limit, 10.0);
  EXPECT_EQ(config.moe->routed_scaling_factor, 1.5);
  EXPECT_EQ(config.moe->scoring, RouterScoring::kSqrtSoftplus);
  EXPECT_TRUE(config.moe->norm_topk_prob);
  EXPECT_TRUE(config.IsHashLayer(2));
  EXPECT_FALSE(config.IsHashLayer(3));
  EXPECT_TRUE(config.IsMoeLayer(0));
  ASSERT_TRUE(config.fp8.has_value());
  EXPECT_TRUE(config.fp8->fp4_experts);
  EXPECT_EQ(config.mtp_layers, 1);
  EXPECT_TRUE(config.warnings.empty());
}

TEST(DeepseekV4ConfigTest, ReadsThePublishedPro) {
  const ModelConfig config = MustParse(kDeepseekV4ProConfig);
  const auto& attention = AttentionAs<HybridAttentionConfig>(config);
  EXPECT_EQ(attention.layers.size(), 61u);
  EXPECT_EQ(Count(attention, HybridLayer::kSliding), 0);
  EXPECT_EQ(Count(attention, HybridLayer::kCsa), 30);
  EXPECT_EQ(Count(attention, HybridLayer::kHca), 31);
  EXPECT_EQ(attention.indexer->top_k, 1024);
}

TEST(DeepseekV4ConfigTest, ReadsWhatTransformersWrites) {
  const ModelConfig config = MustParse(kTinyDeepseekV4Config);
  const auto& attention = AttentionAs<HybridAttentionConfig>(config);
  EXPECT_EQ(attention.rope_head_dim, 4);
  EXPECT_THAT(attention.layers, ElementsAre(HybridLayer::kSliding, HybridLayer::kCsa, HybridLayer::kHca));
  EXPECT_EQ(attention.csa_ratio, 2);
  EXPECT_EQ(attention.hca_ratio, 6);
  EXPECT_EQ(config.moe->hash_layers, 1);
  EXPECT_EQ(attention.sliding_rope.scaling, RopeScaling::kNone);
  EXPECT_EQ(attention.sliding_rope.dim, 4);
  EXPECT_EQ(attention.compressed_rope.scaling, RopeScaling::kYarn);
  EXPECT_EQ(attention.compressed_rope.theta, 160000.0);
  EXPECT_EQ(attention.compressed_rope.attention_factor, 1.0);
  EXPECT_FALSE(config.fp8.has_value());
  EXPECT_TRUE(config.warnings.empty());
}

TEST(DeepseekV4ConfigTest, ReadsExpertDtypeInsideAsTransformersMovesIt) {
  std::string text = With(kDeepseekV4FlashConfig, R"("expert_dtype": "fp4", )", "");
  EXPECT_FALSE(MustParse(text).fp8->fp4_experts);  // the -Base checkpoints: FP8 throughout
  EXPECT_TRUE(MustParse(With(text, R"("fmt": "e4m3")", R"("fmt": "e4m3", "expert_dtype": "fp4")")).fp8->fp4_experts);
  EXPECT_FALSE(MustParse(With(kDeepseekV4FlashConfig, R"("fp4")", R"("fp8")")).fp8->fp4_experts);
}

TEST(DeepseekV4ConfigTest, NeedsNoIndexerWithoutCsaLayers) {
  std::string text = With(kTinyDeepseekV4Config, R"("compressed_sparse_attention", )", R"("sliding_attention", )");
  text = With(text, R"("index_n_heads": 3, "index_head_dim": 8, "index_topk": 2, )", "");
  const ModelConfig config = MustParse(text);
  EXPECT_FALSE(AttentionAs<HybridAttentionConfig>(config).indexer.has_value());
}

TEST(DeepseekV4ConfigTest, TakesAnyNumberOfDrafterEntries) {
  const ModelConfig config = MustParse(With(kDeepseekV4FlashConfig, "4, 0]", "4, 0, 0, 0]"));
  EXPECT_EQ(AttentionAs<HybridAttentionConfig>(config).layers.size(), 43u);
}

class BadV4FieldTest : public ::testing::TestWithParam<BadField> {};

TEST_P(BadV4FieldTest, IsNamedWithExpectedAndFound) { ExpectRefused(GetParam()); }

constexpr auto& kFlash = kDeepseekV4FlashConfig;
constexpr auto& kTiny = kTinyDeepseekV4Config;

INSTANTIATE_TEST_SUITE_P(
    Attention, BadV4FieldTest,
    ::testing::Values(
        BadField{kFlash, R"("num_key_value_heads": 1)", R"("num_key_value_heads": 8)",
                 "num_key_value_heads: deepseek_v4 has one key-value head, found 8"},
        BadField{kFlash, R"("attention_bias": false)", R"("attention_bias": true)",
                 "attention_bias: deepseek_v4 has no biases, found true"},
        BadField{kFlash, R"("tie_word_embeddings": false)", R"("tie_word_embeddings": true)",
                 "tie_word_embeddings: deepseek_v4 has a head of its own, found true"},
        BadField{kFlash, R"("head_dim": 512, )", "", "head_dim: expected an integer in [2, 8192], found nothing"},
        BadField{kFlash, R"("q_lora_rank": 1024)", R"("q_lora_rank": null)",
                 "q_lora_rank: expected an integer in [1, 65536], found nothing"},
        BadField{kFlash, R"("qk_rope_head_dim": 64)", R"("qk_rope_head_dim": 63)",
                 "qk_rope_head_dim: expected an even number"},
        BadField{kFlash, R"("qk_rope_head_dim": 64)", R"("qk_rope_head_dim": 514)",
                 "qk_rope_head_dim: expected at most head_dim, 512, found 514"},
        BadField{kFlash, R"("qk_rope_head_dim": 64)", R"("qk_rope_head_dim": 64, "partial_rotary_factor": 0.25)",
                 "partial_rotary_factor: expected 64 of 512 values (qk_rope_head_dim, head_dim), found 0.25, 128"},
        BadField{kTiny, R"("partial_rotary_factor": 0.4, "q_lora)", R"("partial_rotary_factor": 0.1, "q_lora)",
                 "partial_rotary_factor: expected an even number of values, at least 2 (rotary pairs), found 1"},
        BadField{kFlash, R"("o_groups": 8)", R"("o_groups": 7)",
                 "o_groups: expected a divisor of num_attention_heads, 64, found 7"},
        BadField{kFlash, R"("o_lora_rank": 1024)", R"("o_lora_rank": 0)", "o_lora_rank: expected an integer in [1,"},
        BadField{kFlash, R"("sliding_window": 128)", R"("sliding_window": 0)",
                 "sliding_window: expected an integer in [1, 1048576], found 0"},
        BadField{kFlash, "[0, 0, ", "[0, 2, ", "compress_ratios: hadal offers 0, 4 and 128, found 2"},
        BadField{kFlash, "[0, 0, 4, 128, ", "[", "compress_ratios: expected one for each of 43 layers"},
        BadField{kFlash, "[0, 0, ", "[0, \"x\", ", "compress_ratios: expected an integer in [0, 4096], found \"x\""},
        BadField{kFlash, R"("compress_ratios")", R"("ratios")", "compress_ratios: expected a list (or layer_types)"},
        BadField{kTiny, R"("layer_types": [)", R"("compress_ratios": [0, 2, 2], "layer_types": [)",
                 "compress_ratios: expected the same as layer_types"},
        BadField{kTiny, R"("sliding_attention", )", "", "layer_types: expected one for each of 3 layers, found 2"},
        BadField{kTiny, R"("sliding_attention")", R"("full_attention")",
                 "layer_types: hadal offers sliding_attention, compressed_sparse_attention and"},
        BadField{kTiny, R"("heavily_compressed_attention": 6)", R"("heavily_compressed_attention": 2)",
                 "compress_rates: expected two rates, found twice 2"},
        BadField{kTiny, R"("heavily_compressed_attention": 6)", R"("heavily_compressed_attention": 1)",
                 "compress_rates.heavily_compressed_attention: expected an integer in [2, 4096], found 1"},
        BadField{kTiny, R"("index_topk": 2)", R"("index_topk": 0)", "index_topk: expected an integer in [1,"},
        BadField{kTiny, R"("index_n_heads": 3, )", "",
                 "index_n_heads: expected an integer in [1, 4096], found nothing"},
        BadField{kTiny, R"("index_head_dim": 8)", R"("index_head_dim": 2)",
                 "index_head_dim: expected at least qk_rope_head_dim, 4, found 2"}));

INSTANTIATE_TEST_SUITE_P(
    Rope, BadV4FieldTest,
    ::testing::Values(
        BadField{kFlash, R"("compress_rope_theta": 160000, )", "", "compress_rope_theta: expected a number"},
        BadField{kFlash, R"("rope_theta": 10000, )", "", "rope_theta: expected a number"},
        BadField{kFlash, R"("type": "yarn")", R"("type": "linear")",
                 "rope_scaling.rope_type: deepseek_v4 has default or yarn for compressed layers"},
        BadField{kFlash, R"("type": "yarn")", R"("type": "yarn", "rope_theta": 5000)",
                 "rope_scaling.rope_theta: expected rope_theta or compress_rope_theta, 10000 or 160000, found 5000"},
        BadField{kFlash, R"("factor": 16)", R"("factor": 0)", "rope_scaling.factor: expected a number in [1,"},
        BadField{kTiny, R"("compress": {)", R"("other": {)", "rope_parameters.compress: expected an object"},
        BadField{kTiny, R"("main": {"rope_type": "default")", R"("main": {"rope_type": "linear", "factor": 2.0)",
                 "rope_parameters.main.rope_type: deepseek_v4 has default for sliding layers"},
        BadField{kTiny, R"("attention_factor": 1.0, )", "",
                 "rope_parameters.compress.attention_factor: expected a number (1 for DeepSeek's checkpoints)"},
        BadField{kTiny, R"("attention_factor": 1.0, "partial_rotary_factor": 0.4)",
                 R"("attention_factor": 1.0, "partial_rotary_factor": 0.6)",
                 "rope_parameters.compress.partial_rotary_factor: expected 4 of 10 values"},
        BadField{kTiny, R"("rope_theta": 160000.0)", R"("rope_theta": "x")",
                 "rope_parameters.compress.rope_theta: expected a number"}));

INSTANTIATE_TEST_SUITE_P(
    Rest, BadV4FieldTest,
    ::testing::Values(
        BadField{kFlash, R"("hc_mult": 4)", R"("hc_mult": 17)", "hc_mult: expected an integer in [1, 16], found 17"},
        BadField{kFlash, R"("hc_sinkhorn_iters": 20)", R"("hc_sinkhorn_iters": 0)",
                 "hc_sinkhorn_iters: expected an integer in [1, 1000], found 0"},
        BadField{kFlash, R"("hc_eps": 1e-06, )", "", "hc_eps: expected a number in [0, 1], found nothing"},
        BadField{kFlash, R"("n_shared_experts": 1)", R"("n_shared_experts": 2)",
                 "n_shared_experts: deepseek_v4 has one shared expert, found 2"},
        BadField{kFlash, R"("n_shared_experts": 1)", R"("n_group": 8)", "n_group: deepseek_v4 has no expert groups"},
        BadField{kFlash, R"("scoring_func": "sqrtsoftplus")", R"("scoring_func": "sigmoid")",
                 "scoring_func: deepseek_v4 has sqrtsoftplus, found \"sigmoid\""},
        BadField{kFlash, R"("topk_method": "noaux_tc")", R"("topk_method": "greedy")",
                 "topk_method: deepseek_v4 has noaux_tc, found \"greedy\""},
        BadField{kFlash, R"("num_experts_per_tok": 6)", R"("num_experts_per_tok": 257)",
                 "num_experts_per_tok: expected an integer in [1, 256], found 257"},
        BadField{kTiny, R"("num_experts_per_tok": 2)", R"("num_experts_per_tok": 6)",
                 "num_experts_per_tok: expected at most n_routed_experts, 5, found 6"},
        BadField{kFlash, R"("n_routed_experts": 256)", R"("n_routed_experts": 4096)",
                 "n_routed_experts: expected at most 131072 experts over all layers"},
        BadField{kFlash, R"("swiglu_limit": 10.0, )", "", "swiglu_limit: expected a number in [0,"},
        BadField{kFlash, R"("swiglu_limit": 10.0)", R"("swiglu_limit": -1)", "swiglu_limit: expected a number in [0,"},
        BadField{kFlash, R"("routed_scaling_factor": 1.5)", R"("routed_scaling_factor": 0)", "routed_scaling_factor"},
        BadField{kFlash, R"("num_hash_layers": 3)", R"("num_hash_layers": 44)",
                 "num_hash_layers: expected an integer in [0, 43], found 44"},
        BadField{kFlash, R"("num_hash_layers": 3)", R"("hash_layers": 3)",
                 "num_hash_layers: expected an integer in [0, 43], found noth"},
        BadField{
            kTiny, R"(["hash_moe", "moe", "moe"])", R"(["moe", "hash_moe", "moe"])",
            "mlp_layer_types: hadal offers hash_moe in the first layers, then moe, found \"hash_moe\" for layer 1"},
        BadField{kTiny, R"(["hash_moe", "moe", "moe"])", R"(["hash_moe", "moe"])",
                 "mlp_layer_types: expected one for each of 3 layers, found 2"},
        BadField{kTiny, R"("mlp_layer_types")", R"("num_hash_layers": 2, "mlp_layer_types")",
                 "num_hash_layers: expected the 1 layers of mlp_layer_types, found 2"},
        BadField{kFlash, R"("moe_intermediate_size": 2048, )", "", "moe_intermediate_size: expected an integer"},
        BadField{kFlash, R"("num_nextn_predict_layers": 1)", R"("num_nextn_predict_layers": 65)",
                 "num_nextn_predict_layers: expected an integer in [0, 64], found 65"},
        BadField{kFlash, "DeepseekV4ForCausalLM", "DeepseekV41ForCausalLM",
                 "architectures: DeepseekV41ForCausalLM is not offered: it would need"}));

INSTANTIATE_TEST_SUITE_P(
    Quantization, BadV4FieldTest,
    ::testing::Values(
        BadField{kFlash, R"("expert_dtype": "fp4")", R"("expert_dtype": "int4")",
                 "expert_dtype: hadal offers fp4 and fp8, found \"int4\""},
        BadField{kTiny, R"("dtype": "float32")", R"("expert_dtype": "fp4")",
                 "quantization_config: expected an object beside expert_dtype \"fp4\", found nothing"},
        BadField{kFlash, R"("fmt": "e4m3")", R"("fmt": "e4m3", "expert_dtype": "fp8")",
                 "quantization_config.expert_dtype: expected the same as expert_dtype outside, found \"fp8\""},
        BadField{kFlash, R"("scale_fmt": "ue8m0")", R"("scale_fmt": "e5m3")",
                 "quantization_config.scale_fmt: hadal offers ue8m0, found \"e5m3\""},
        BadField{kFlash, R"("activation_scheme": "dynamic")", R"("activation_scheme": "static")",
                 "quantization_config.activation_scheme: hadal offers dynamic, found \"static\", which would need"},
        BadField{kFlash, R"("quant_method": "fp8")", R"("quant_method": "gptq")",
                 "found \"gptq\", which would need 4-bit integers in groups, a reader of qweight, qzeros, scales and"},
        BadField{kFlash, R"("quant_method": "fp8")", R"("quant_method": "compressed-tensors")",
                 "found \"compressed-tensors\", which would need a reader of its schemes"},
        BadField{kFlash, R"("quant_method": "fp8")", R"("quant_method": "new")",
                 "hadal offers fp8, found \"new\"; use the checkpoint in the format it was published in"}));

}  // namespace
}  // namespace hadal::config
