// SPDX-License-Identifier: Apache-2.0
#include "models/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "absl/strings/str_replace.h"
#include "tests/models/checkpoint/checkpoint_builder.h"
#include "tests/models/config/parsing.h"

namespace hadal::config {
namespace {

using kernels::DType;
using kernels::RopeScaling;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ModelConfigTest, ReadsDeepseekV3) {
  const ModelConfig config = MustParse(kDeepseekV3Config);
  EXPECT_EQ(config.family, "deepseek_v3");
  EXPECT_EQ(config.architecture, "DeepseekV3ForCausalLM");
  EXPECT_EQ(config.vocab_size, 129280);
  EXPECT_EQ(config.hidden_size, 7168);
  EXPECT_EQ(config.intermediate_size, 18432);
  EXPECT_EQ(config.layers, 61);
  EXPECT_EQ(config.max_position_embeddings, 163840);
  EXPECT_EQ(config.rms_norm_eps, 1e-6);
  const MlaConfig& attention = AttentionAs<MlaConfig>(config);
  EXPECT_EQ(attention.heads, 128);
  EXPECT_EQ(attention.q_lora_rank, 1536);
  EXPECT_EQ(attention.latent_dim(), 576);
  EXPECT_EQ(attention.qk_head_dim(), 192);
  EXPECT_EQ(attention.v_head_dim, 128);
  EXPECT_TRUE(attention.rope_interleaved);
  ASSERT_TRUE(config.moe.has_value());
  EXPECT_EQ(config.moe->routed_experts, 256);
  EXPECT_EQ(config.moe->experts_per_token, 8);
  EXPECT_EQ(config.moe->groups, 8);
  EXPECT_EQ(config.moe->groups_per_token, 4);
  EXPECT_TRUE(config.moe->norm_topk_prob);
  EXPECT_EQ(config.moe->routed_scaling_factor, 2.5);
  EXPECT_EQ(config.moe->scoring, RouterScoring::kSigmoid);
  EXPECT_EQ(config.moe->selection, RouterSelection::kNoAuxTc);
  EXPECT_FALSE(config.IsMoeLayer(2));
  EXPECT_TRUE(config.IsMoeLayer(3));
  ASSERT_TRUE(config.fp8.has_value());
  EXPECT_EQ(config.fp8->block_rows, 128);
  EXPECT_EQ(attention.rope.scaling, RopeScaling::kYarn);
  EXPECT_EQ(attention.rope.dim, 64);
  EXPECT_EQ(attention.rope.factor, 40.0);
  EXPECT_EQ(attention.rope.original_max_positions, 4096);
  EXPECT_EQ(attention.rope.mscale, 1.0);
  EXPECT_EQ(attention.rope.mscale_all_dim, 1.0);
  EXPECT_EQ(config.mtp_layers, 1);
  EXPECT_EQ(config.checkpoint_dtype, DType::kBF16);
  EXPECT_EQ(config.DefaultComputeDType(), DType::kBF16);
  EXPECT_THAT(config.eos_token_ids, ElementsAre(1));
  EXPECT_TRUE(config.warnings.empty());
}

TEST(ModelConfigTest, NullMeansFalseToTheReferenceWhereNothingMeansTrue) {
  const std::string text =
      With(kDeepseekV3Config, R"("norm_topk_prob": true)", R"("norm_topk_prob": null, "rope_interleave": null)");
  const ModelConfig config = MustParse(text);
  EXPECT_FALSE(config.moe->norm_topk_prob);
  EXPECT_FALSE(AttentionAs<MlaConfig>(config).rope_interleaved);
  EXPECT_TRUE(MustParse(With(kDeepseekV3Config, R"("norm_topk_prob": true, )", "")).moe->norm_topk_prob);
}

TEST(ModelConfigTest, ReadsLlamaWithLlama3Scaling) {
  const ModelConfig config = MustParse(kLlama8bConfig);
  const auto& attention = AttentionAs<GqaConfig>(config);
  EXPECT_EQ(config.family, "llama");
  EXPECT_EQ(attention.heads, 32);
  EXPECT_EQ(attention.kv_heads, 8);
  EXPECT_EQ(attention.head_dim, 128);
  EXPECT_FALSE(attention.qkv_bias);
  EXPECT_EQ(attention.rope.scaling, RopeScaling::kLlama3);
  EXPECT_EQ(attention.rope.theta, 500000.0);
  EXPECT_EQ(attention.rope.factor, 8.0);
  EXPECT_EQ(attention.rope.original_max_positions, 8192);
  EXPECT_THAT(config.eos_token_ids, ElementsAre(128001, 128008, 128009));
  EXPECT_FALSE(config.moe || config.fp8);
}

TEST(ModelConfigTest, ReadsQwen2WithItsBiases) {
  const ModelConfig config = MustParse(kQwen15bConfig);
  const auto& attention = AttentionAs<GqaConfig>(config);
  EXPECT_EQ(config.family, "qwen2");
  EXPECT_TRUE(attention.qkv_bias);
  EXPECT_FALSE(attention.out_bias);
  EXPECT_EQ(attention.head_dim, 128);
  EXPECT_EQ(attention.rope.scaling, RopeScaling::kNone);
}

TEST(ModelConfigTest, ReadsQwen3WithItsNorms) {
  const ModelConfig config = MustParse(kTinyQwen3Config);
  const auto& attention = AttentionAs<GqaConfig>(config);
  EXPECT_EQ(config.family, "qwen3");
  EXPECT_EQ(attention.head_dim, 10);
  EXPECT_TRUE(attention.qk_norm);
  EXPECT_FALSE(attention.qkv_bias || attention.out_bias);
  EXPECT_EQ(attention.rope.attn_factor, 0.8782488562869419);
  EXPECT_TRUE(config.warnings.empty());
  const ModelConfig biased =
      MustParse(With(kTinyQwen3Config, R"("attention_bias": false)", R"("attention_bias": true)"));
  EXPECT_TRUE(AttentionAs<GqaConfig>(biased).qkv_bias && AttentionAs<GqaConfig>(biased).out_bias);
}

TEST(ModelConfigTest, AWindowThatNoLayerUsesIsNone) {
  const std::string qwen2 = With(kQwen15bConfig, R"("use_sliding_window": false)", R"("use_sliding_window": true)");
  MustParse(With(qwen2, R"("max_window_layers": 21)", R"("max_window_layers": 28)"));
  MustParse(With(qwen2, R"("max_window_layers": 21, )", ""));  // 28 where it is left out
  MustParse(With(qwen2, R"("sliding_window": 4096)", R"("sliding_window": null)"));
  MustParse(With(qwen2, R"("use_mrope": false)", R"("layer_types": ["full_attention"])"));
  EXPECT_FALSE(ParseModelConfig(With(qwen2, R"("max_window_layers": 21)", R"("max_window_layers": 27)")).ok());
  EXPECT_FALSE(ParseModelConfig(With(qwen2, R"("sliding_window": 4096, )", "")).ok()) << "4096 where it is left out";
}

TEST(ModelConfigTest, ReadsRopeParametersLikeRopeScaling) {
  const ModelConfig config = MustParse(With(kTinyLlamaConfig, R"({"rope_theta": 10000.0, "rope_type": "default"})",
                                            R"({"rope_theta": 5e5, "rope_type": "linear", "factor": 4})"));
  const auto& attention = AttentionAs<GqaConfig>(config);
  EXPECT_EQ(attention.rope.scaling, RopeScaling::kLinear);
  EXPECT_EQ(attention.rope.theta, 500000.0);
  EXPECT_EQ(attention.rope.factor, 4.0);
  EXPECT_EQ(config.checkpoint_dtype, DType::kF32);
}

TEST(ModelConfigTest, LetsRopeScalingWinOverRopeParameters) {
  const ModelConfig config = MustParse(With(kTinyLlamaConfig, R"("rope_parameters")",
                                            R"("rope_scaling": {"type": "linear", "factor": 2}, "rope_parameters")"));
  EXPECT_EQ(AttentionAs<GqaConfig>(config).rope.scaling, RopeScaling::kLinear);
  EXPECT_EQ(AttentionAs<GqaConfig>(config).rope.factor, 2.0);
}

TEST(ModelConfigTest, TakesDynamicLimitFromMaxPositions) {
  const ModelConfig config =
      MustParse(With(kTinyLlamaConfig, R"("rope_type": "default")", R"("rope_type": "dynamic", "factor": 2.0)"));
  EXPECT_EQ(AttentionAs<GqaConfig>(config).rope.scaling, RopeScaling::kDynamic);
  EXPECT_EQ(AttentionAs<GqaConfig>(config).rope.original_max_positions, 64);
}

TEST(ModelConfigTest, TakesOriginalPositionsBesideTheScaling) {
  const std::string yarn =
      With(kTinyLlamaConfig, R"("rope_type": "default")", R"("rope_type": "yarn", "factor": null)");
  const ModelConfig config =
      MustParse(With(yarn, R"("dtype": "float32")", R"("original_max_position_embeddings": 32)"));
  EXPECT_EQ(AttentionAs<GqaConfig>(config).rope.original_max_positions, 32);
  EXPECT_EQ(AttentionAs<GqaConfig>(config).rope.factor, 2.0);  // of 64 positions
}

TEST(ModelConfigTest, ReadsMscaleAllDimOfEveryScaling) {
  const ModelConfig config = MustParse(With(kTinyLlamaConfig, R"("rope_type": "default")",
                                            R"("rope_type": "linear", "factor": 2.0, "mscale_all_dim": 0.5)"));
  EXPECT_EQ(AttentionAs<GqaConfig>(config).rope.mscale_all_dim, 0.5);
}

TEST(ModelConfigTest, NamesRopeFieldsWithoutEffect) {
  const ModelConfig config = MustParse(
      With(kTinyLlamaConfig, R"("rope_type": "default")",
           R"("rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "atn_factor": 0.878)"));
  EXPECT_EQ(AttentionAs<GqaConfig>(config).rope.attention_factor, 0.0);
  EXPECT_THAT(config.warnings, ElementsAre(HasSubstr("rope_parameters.atn_factor has no effect")));
}

TEST(ModelConfigTest, KeepsExplicitHeadDim) {
  const ModelConfig config =
      MustParse(With(kTinyLlamaConfig, R"("hidden_size": 8)", R"("hidden_size": 8, "head_dim": 6)"));
  EXPECT_EQ(AttentionAs<GqaConfig>(config).head_dim, 6);
}

TEST(ModelConfigTest, TakesNullForAbsent) {
  const ModelConfig config = MustParse(With(kTinyLlamaConfig, R"("num_key_value_heads": 1)",
                                            R"("num_key_value_heads": null, "head_dim": null, "eos_token_id": null)"));
  EXPECT_EQ(AttentionAs<GqaConfig>(config).kv_heads, 2);
  EXPECT_TRUE(config.eos_token_ids.empty());
}

TEST(ModelConfigTest, ReadsFullQProjFromNullRank) {
  const ModelConfig config = MustParse(kTinyDeepseekConfig);
  EXPECT_EQ(AttentionAs<MlaConfig>(config).q_lora_rank, 0);
  EXPECT_THAT(ParseError(With(kTinyDeepseekConfig, R"("q_lora_rank": null, )", "")).message(),
              HasSubstr("q_lora_rank: expected an integer, or null for a full q_proj, found nothing"));
}

TEST(ModelConfigTest, KnowsFamilyByModelTypeAlone) {
  EXPECT_EQ(MustParse(With(kTinyLlamaConfig, R"("architectures": ["LlamaForCausalLM"], )", "")).family, "llama");
}

TEST(ModelConfigTest, JoinsEndTokensOfGenerationConfig) {
  auto config = ParseModelConfig(kLlama8bConfig, "config.json", R"({"eos_token_id": [128009, 7], "temperature": 0.6})");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_THAT(config->eos_token_ids, ElementsAre(128001, 128008, 128009, 7));
  auto bad = ParseModelConfig(kTinyLlamaConfig, "config.json", R"({"eos_token_id": 11})");
  EXPECT_THAT(bad.status().message(),
              HasSubstr("generation_config.json: eos_token_id: expected an integer in [0, 10], found 11"));
}

TEST(ModelConfigTest, RefusesUnknownArchitectureWithTheKnownOnes) {
  const absl::Status status = ParseError(With(kTinyLlamaConfig, "LlamaForCausalLM", "GPT2LMHeadModel"));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("dir/config.json"), HasSubstr("\"GPT2LMHeadModel\""),
                                                   HasSubstr("DeepseekV3ForCausalLM, "),
                                                   HasSubstr("LlamaForCausalLM, "), HasSubstr("Qwen2ForCausalLM")));
}

TEST(ModelConfigTest, RefusesModelTypeOfAnotherFamily) {
  EXPECT_THAT(ParseError(With(kTinyLlamaConfig, R"("model_type": "llama")", R"("model_type": "qwen2")")).message(),
              HasSubstr("model_type: expected \"llama\" for LlamaForCausalLM, found \"qwen2\""));
}

TEST(ModelConfigTest, RefusesRepeatedKeys) {
  EXPECT_THAT(
      ParseError(With(kTinyLlamaConfig, R"("hidden_size": 8)", R"("hidden_size": 8, "hidden_size": 8)")).message(),
      HasSubstr("hidden_size: expected each key once, found it twice"));
  EXPECT_THAT(ParseError(With(kTinyLlamaConfig, R"("rope_type")", R"("rope_theta": 1.0, "rope_type")")).message(),
              HasSubstr("rope_parameters.rope_theta: expected each key once"));
}

class BadFieldTest : public ::testing::TestWithParam<BadField> {};

TEST_P(BadFieldTest, IsNamedWithExpectedAndFound) { ExpectRefused(GetParam()); }

INSTANTIATE_TEST_SUITE_P(
    Fields, BadFieldTest,
    ::testing::Values(
        BadField{kTinyLlamaConfig, R"("hidden_size": 8, )", "",
                 "hidden_size: expected an integer in [1, 1048576], found nothing"},
        BadField{kTinyLlamaConfig, R"("hidden_size": 8)", R"("hidden_size": "8")",
                 "hidden_size: expected an integer in [1, 1048576], found \"8\""},
        BadField{kTinyLlamaConfig, R"("hidden_size": 8)", R"("hidden_size": 8.0)", "hidden_size: expected an integer"},
        BadField{kTinyLlamaConfig, R"("hidden_size": 8)", R"("hidden_size": -8)", "found -8"},
        BadField{kTinyLlamaConfig, R"("hidden_size": 8)", R"("hidden_size": 18446744073709551615)",
                 "found 18446744073709551615"},
        BadField{kTinyLlamaConfig, R"("hidden_size": 8)", R"("hidden_size": 999999999999999999999)",
                 "expected an integer in [1, 1048576], found 1e+21"},
        BadField{kTinyLlamaConfig, R"("num_hidden_layers": 2)", R"("num_hidden_layers": 1025)",
                 "num_hidden_layers: expected an integer in [1, 1024], found 1025"},
        BadField{kTinyLlamaConfig, R"("vocab_size": 11)", R"("vocab_size": 0)", "vocab_size"},
        BadField{kTinyLlamaConfig, R"("num_key_value_heads": 1)", R"("num_key_value_heads": 3)",
                 "num_key_value_heads: expected a divisor of num_attention_heads, 2, found 3"},
        BadField{kTinyLlamaConfig, R"("hidden_size": 8)", R"("hidden_size": 9)",
                 "num_attention_heads: expected a divisor of hidden_size, 9"},
        BadField{kTinyLlamaConfig, R"("hidden_size": 8)", R"("hidden_size": 8, "head_dim": 5)",
                 "head_dim: expected an even number"},
        BadField{kTinyLlamaConfig, R"("hidden_size": 8)", R"("hidden_size": 8, "hidden_act": "gelu")",
                 "hidden_act: hadal offers silu, found \"gelu\""},
        BadField{kTinyLlamaConfig, R"("hidden_size": 8)", R"("hidden_size": 8, "rms_norm_eps": -1)",
                 "rms_norm_eps: expected a number in [0, 1], found -1"},
        BadField{kTinyLlamaConfig, R"("hidden_size": 8)", R"("hidden_size": 8, "mlp_bias": 1)",
                 "mlp_bias: expected true or false, found 1"},
        BadField{kTinyLlamaConfig, R"("hidden_size": 8)", R"("hidden_size": 8, "eos_token_id": [1, 11])",
                 "eos_token_id: expected an integer in [0, 10], found 11"},
        BadField{kTinyLlamaConfig, R"("dtype": "float32")", R"("dtype": "int8")",
                 "dtype: expected bfloat16, float16 or float32, found \"int8\""},
        BadField{kTinyLlamaConfig, R"("rope_type": "default")", R"("rope_type": "su")",
                 "rope_parameters.rope_type: hadal offers default, linear, dynamic, llama3 and yarn, found \"su\""},
        BadField{kTinyLlamaConfig, R"("rope_type": "default")", R"("rope_type": "linear")",
                 "rope_parameters.factor: expected a number in [1, 1e+06], found nothing"},
        BadField{kTinyLlamaConfig, R"("rope_type": "default")", R"("rope_type": "linear", "factor": 0.5)", "found 0.5"},
        BadField{kLlama8bConfig, R"("rope_scaling": {)",
                 R"("original_max_position_embeddings": 4096, "rope_scaling": {)",
                 "original_max_position_embeddings: expected the same as "
                 "rope_scaling.original_max_position_embeddings, 8192, found 4096"},
        BadField{kLlama8bConfig, R"("original_max_position_embeddings": 8192)",
                 R"("original_max_position_embeddings": 8192.0)", "found 8192.0"},
        BadField{kTinyLlamaConfig, R"("rope_theta": 10000.0)", R"("rope_theta": 1.0)",
                 "rope_theta: expected more than 1, found 1"},
        BadField{kTinyLlamaConfig, R"("rope_type": "default")", R"("full_attention": {"rope_type": "default"})",
                 "rope_parameters.full_attention: hadal offers one rotation for all layers"},
        BadField{kTinyLlamaConfig, R"("rope_type": "default")", R"("partial_rotary_factor": 0.5)",
                 "partial_rotary_factor: hadal rotates whole heads only"},
        BadField{kLlama8bConfig, R"("high_freq_factor": 4.0)", R"("high_freq_factor": 1.0)",
                 "rope_scaling.high_freq_factor: expected more than low_freq_factor"},
        BadField{kLlama8bConfig, R"("rope_scaling": {)",
                 R"("quantization_config": {"quant_method": "awq"}, "rope_scaling": {)",
                 "quantization_config.quant_method: hadal offers fp8, found \"awq\""},
        BadField{kQwen15bConfig, R"("use_sliding_window": false)", R"("use_sliding_window": true)",
                 "use_sliding_window: hadal offers full attention"},
        BadField{kTinyQwen3Config, R"("head_dim": 10, )", "",
                 "head_dim: expected an integer (qwen3 does not derive it), found nothing"},
        BadField{kTinyQwen3Config, R"("attention_bias": false)",
                 R"("use_sliding_window": true, "max_window_layers": 1)",
                 "use_sliding_window: hadal offers full attention for qwen3 only, found true for layer 1 "
                 "(max_window_layers) and after"},
        BadField{kTinyQwen3Config, R"("attn_factor")", R"("attention_factor": 1.0, "attn_factor")",
                 "rope_scaling.attn_factor: expected nothing beside attention_factor"},
        BadField{kQwen15bConfig, R"("use_mrope": false)", R"("layer_types": ["sliding_attention"])", "layer_types"},
        BadField{kDeepseekV3Config, R"("n_group": 8)", R"("n_group": 7)",
                 "n_group: expected a divisor of n_routed_experts, 256, found 7"},
        BadField{kDeepseekV3Config, R"("topk_group": 4)", R"("topk_group": 9)",
                 "topk_group: expected at most n_group, 8, found 9"},
        BadField{kDeepseekV3Config, R"("num_experts_per_tok": 8)", R"("num_experts_per_tok": 129)",
                 "num_experts_per_tok: expected at most the 128 experts of topk_group groups, found 129"},
        BadField{kDeepseekV3Config, R"("n_group": 8)", R"("n_group": 256)", "groups of at least 2 experts"},
        BadField{kDeepseekV3Config, R"("qk_rope_head_dim": 64)", R"("qk_rope_head_dim": 63)",
                 "qk_rope_head_dim: expected an even number"},
        BadField{kDeepseekV3Config, R"("num_key_value_heads": 128)", R"("num_key_value_heads": 8)",
                 "num_key_value_heads: expected num_attention_heads, 128"},
        BadField{kDeepseekV3Config, R"("scoring_func": "sigmoid")", R"("scoring_func": "softmax")",
                 "scoring_func: deepseek_v3 has sigmoid, found \"softmax\""},
        BadField{kDeepseekV3Config, R"("topk_method": "noaux_tc")", R"("topk_method": "greedy")",
                 "topk_method: deepseek_v3 has noaux_tc"},
        BadField{kDeepseekV3Config, R"("n_routed_experts": 256)", R"("n_routed_experts": 4096)",
                 "at most 131072 experts over all layers"},
        BadField{kDeepseekV3Config, R"([128, 128])", R"([128])",
                 "weight_block_size: expected [rows, columns], found a list of 1"},
        BadField{kDeepseekV3Config, R"("fmt": "e4m3")", R"("fmt": "e5m2")", "fmt: hadal offers e4m3, found \"e5m2\""},
        BadField{kDeepseekV3Config, R"("beta_fast": 32)", R"("beta_fast": 0.5)",
                 "beta_fast: expected at least beta_slow"}));

TEST(ModelConfigTest, RefusesWhatIsNoObject) {
  for (const char* text : {"", "[]", "3", "{", "{\"a\":1}}", "\xff\xfe", "null"}) {
    EXPECT_EQ(ParseError(text).code(), absl::StatusCode::kInvalidArgument) << text;
  }
  EXPECT_THAT(ParseError(std::string(5 << 20, ' ')).message(), HasSubstr("expected at most 4194304 bytes"));
  const std::string deep = "{\"a\":" + std::string(100, '[') + std::string(100, ']') + "}";
  EXPECT_THAT(ParseError(deep).message(), HasSubstr("valid JSON"));
}

TEST(ReadModelConfigTest, ReadsTheFolder) {
  checkpoint::TempDir dir;
  EXPECT_EQ(ReadModelConfig(dir.path()).status().code(), absl::StatusCode::kNotFound);
  dir.Write("config.json", kTinyLlamaConfig);
  auto config = ReadModelConfig(dir.path());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_TRUE(config->eos_token_ids.empty());
  dir.Write("generation_config.json", R"({"eos_token_id": 3})");
  config = ReadModelConfig(dir.path());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_THAT(config->eos_token_ids, ElementsAre(3));
}

}  // namespace
}  // namespace hadal::config
