// SPDX-License-Identifier: Apache-2.0
#include "models/plan/memory_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "absl/strings/str_format.h"
#include "tests/models/config/parsing.h"
#include "tests/models/outline.h"

namespace hadal::plan {
namespace {

using config::MustParse;
using models::KvLayout;
using models::testing::Outline;
using ::testing::AllOf;
using ::testing::HasSubstr;

int64_t Parameters(const config::ModelConfig& config) { return Outline(config)->totals().parameters; }
int64_t ActiveParameters(const config::ModelConfig& config) { return Outline(config)->totals().active; }
int64_t MtpParameters(const config::ModelConfig& config) { return Outline(config)->mtp_parameters(); }

// Options for a model of that configuration.
MemoryPlanOptions OptionsFor(const config::ModelConfig& config) {
  MemoryPlanOptions options;
  const auto outline = Outline(config);
  options.parameters = outline->totals();
  options.mtp_parameters = outline->mtp_parameters();
  return options;
}

// A row of published sizes; billions as published, KV bytes exact.
struct Dense {
  const char* name;
  const char* architecture;
  int64_t hidden, intermediate, layers, heads, kv_heads, vocab;
  double parameters_b, active_b;
  int64_t kv_bytes;
};

class PublishedSizesTest : public ::testing::TestWithParam<Dense> {};

TEST_P(PublishedSizesTest, AreReproduced) {
  const Dense& d = GetParam();
  const config::ModelConfig config = MustParse(absl::StrFormat(
      R"({"architectures":["%s"],"hidden_size":%d,"intermediate_size":%d,"num_hidden_layers":%d,
          "num_attention_heads":%d,"num_key_value_heads":%d,"vocab_size":%d,"max_position_embeddings":4096})",
      d.architecture, d.hidden, d.intermediate, d.layers, d.heads, d.kv_heads, d.vocab));
  EXPECT_EQ(std::round(Parameters(config) / 1e6), std::round(d.parameters_b * 1e3));
  EXPECT_EQ(std::round(ActiveParameters(config) / 1e6), std::round(d.active_b * 1e3));
  EXPECT_EQ(Outline(config)->kv_layout().bytes_per_token(), d.kv_bytes);
}

INSTANTIATE_TEST_SUITE_P(
    Dense, PublishedSizesTest,
    ::testing::Values(
        Dense{"llm-7b", "LlamaForCausalLM", 4096, 11008, 30, 32, 32, 102400, 6.910, 6.491, 491520},
        Dense{"llm-67b", "LlamaForCausalLM", 8192, 22016, 95, 64, 8, 102400, 67.425, 66.585, 389120},
        Dense{"coder-1.3b", "LlamaForCausalLM", 2048, 5504, 24, 16, 16, 32256, 1.346, 1.280, 196608},
        Dense{"coder-5.7bmqa", "LlamaForCausalLM", 4096, 11008, 32, 32, 1, 32256, 5.700, 5.568, 16384},
        Dense{"coder-6.7b", "LlamaForCausalLM", 4096, 11008, 32, 32, 32, 32256, 6.741, 6.608, 524288},
        Dense{"coder-33b", "LlamaForCausalLM", 7168, 19200, 62, 56, 8, 32256, 33.343, 33.111, 253952},
        Dense{"R1-Distill-Qwen-1.5B", "Qwen2ForCausalLM", 1536, 8960, 28, 12, 2, 151936, 1.777, 1.544, 28672},
        Dense{"R1-Distill-Qwen-7B", "Qwen2ForCausalLM", 3584, 18944, 28, 28, 4, 152064, 7.616, 7.070, 57344},
        Dense{"R1-Distill-Qwen-14B", "Qwen2ForCausalLM", 5120, 13824, 48, 40, 8, 152064, 14.770, 13.991, 196608},
        Dense{"R1-Distill-Qwen-32B", "Qwen2ForCausalLM", 5120, 27648, 64, 40, 8, 152064, 32.764, 31.984, 262144},
        Dense{"R1-Distill-Llama-8B", "LlamaForCausalLM", 4096, 14336, 32, 32, 8, 128256, 8.030, 7.505, 131072},
        Dense{"R1-Distill-Llama-70B", "LlamaForCausalLM", 8192, 28672, 80, 64, 8, 128256, 70.554, 69.502, 327680}),
    [](const auto& info) {
      std::string name;
      for (char c : std::string(info.param.name)) name += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
      return name;
    });

TEST(ParameterCountTest, EqualsThePublishedCounts) {
  EXPECT_EQ(Parameters(MustParse(config::kDeepseekV3Config)), 671'026'419'200);
  EXPECT_EQ(Parameters(MustParse(config::kQwen15bConfig)), 1'777'088'000);
  EXPECT_EQ(Parameters(MustParse(config::kLlama8bConfig)), 8'030'261'248);
  EXPECT_NEAR(ActiveParameters(MustParse(config::kDeepseekV3Config)) / 1e9, 36.625, 0.0005);
  EXPECT_EQ(Outline(MustParse(config::kDeepseekV3Config))->kv_layout().bytes_per_token(), 70'272);
}

TEST(ParameterCountTest, EqualsThePublishedCountsOfV4) {
  const config::ModelConfig flash = MustParse(config::kDeepseekV4FlashConfig);
  EXPECT_NEAR(Parameters(flash) / 1e9, 284.335, 0.0005);
  EXPECT_NEAR(ActiveParameters(flash) / 1e9, 13.27, 0.005);
  const config::ModelConfig pro = MustParse(config::kDeepseekV4ProConfig);
  EXPECT_NEAR(Parameters(pro) / 1e9, 1573.0, 0.05);
  EXPECT_NEAR(ActiveParameters(pro) / 1e9, 48.85, 0.005);
}

TEST(PlanMemoryTest, FillsTheBudgetWithBlocks) {
  const config::ModelConfig config = MustParse(config::kQwen15bConfig);
  MemoryPlanOptions options = OptionsFor(config);
  options.kv_layout = Outline(config)->kv_layout();
  options.workspace_bytes = 1000;
  options.extra_weights_bytes = 24;
  options.max_model_len = 1000;
  options.budget_bytes = int64_t{2} * 1'777'088'000 + 1024 + 28672 * 64 * 10 + 5;
  auto plan = PlanMemory(config, options);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->weights_bytes, int64_t{2} * 1'777'088'000 + 24);
  EXPECT_EQ(plan->kv_bytes_per_block, 28672 * 64);
  EXPECT_EQ(plan->kv_blocks, 10);
  EXPECT_EQ(plan->kv_tokens, 640);
  EXPECT_EQ(plan->max_len_request_bytes, 16 * 28672 * 64);
  EXPECT_THAT(plan->ToString(), AllOf(HasSubstr("1777088000"), HasSubstr("10 blocks, 640 tokens"),
                                      HasSubstr("the longest request does not fit")));
}

TEST(ParameterCountTest, CountsMultiTokenPredictionApart) {
  // 11.61 B of block and 1.85 B of copied embedding and head, as the published checkpoint holds them.
  EXPECT_NEAR(MtpParameters(MustParse(config::kDeepseekV3Config)) / 1e9, 11.61 + 1.85, 0.01);
  EXPECT_EQ(MtpParameters(MustParse(config::kLlama8bConfig)), 0);
  // 6.61 B: 257 experts of 25.17 M, two projections of 16.8 M, attention 107 M, router 1 M.
  EXPECT_NEAR(MtpParameters(MustParse(config::kDeepseekV4FlashConfig)) / 1e9, 6.61, 0.005);
  EXPECT_EQ(MtpParameters(MustParse(config::With(config::kDeepseekV4FlashConfig, R"("num_nextn_predict_layers": 1)",
                                                 R"("num_nextn_predict_layers": 0)"))),
            0);
}

TEST(PlanMemoryTest, SaysWhatFitsOnDevicesAndWhatIsIgnored) {
  MemoryPlanOptions options = OptionsFor(MustParse(config::kQwen15bConfig));
  options.kv_layout = Outline(MustParse(config::kQwen15bConfig))->kv_layout();
  options.workspace_bytes = int64_t{1} << 30;
  auto plan = PlanMemory(MustParse(config::kQwen15bConfig), options);
  ASSERT_TRUE(plan.ok()) << plan.status();
  ASSERT_EQ(plan->devices.size(), 2u);
  const int64_t fixed = int64_t{2} * 1'777'088'000 + (int64_t{1} << 30);
  EXPECT_EQ(plan->devices[0].device_bytes, int64_t{80} << 30);
  EXPECT_EQ(plan->devices[0].kv_tokens, ((int64_t{80} << 30) - fixed) / (28672 * 64) * 64);
  EXPECT_EQ(plan->devices[1].kv_tokens, ((int64_t{141} << 30) - fixed) / (28672 * 64) * 64);
  EXPECT_THAT(plan->ToString(),
              AllOf(HasSubstr("on 80 GiB              fits, with a cache of "), ::testing::Not(HasSubstr("ignored"))));

  options = OptionsFor(MustParse(config::kDeepseekV3Config));
  options.kv_layout = Outline(MustParse(config::kDeepseekV3Config))->kv_layout();
  options.ignored_tensors = 3;
  options.ignored_bytes = 4096;
  plan = PlanMemory(MustParse(config::kDeepseekV3Config), options);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->devices[1].kv_tokens, 0);
  EXPECT_EQ(plan->devices[1].needed_bytes, plan->weights_bytes + plan->kv_bytes_per_block);
  EXPECT_THAT(plan->ToString(),
              AllOf(HasSubstr("on 141 GiB             does not fit: needs 1249."),
                    HasSubstr("parameters of multi-token prediction; 3 tensors, 0.00 GiB (4096 bytes) in the files")));
}

TEST(PlanMemoryTest, RefusesWhatDoesNotFit) {
  const config::ModelConfig config = MustParse(config::kQwen15bConfig);
  MemoryPlanOptions options = OptionsFor(config);
  options.kv_layout = Outline(config)->kv_layout();
  options.budget_bytes = 1 << 20;
  const absl::Status status = PlanMemory(config, options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("weights need 3.31 GiB"), HasSubstr("(1048576 bytes)")));
}

// A kept cache with an entry every 4 tokens, one every 128, and 100 bytes a token that only a window of 130 needs.
KvLayout WindowedLayout() {
  return {{{"csa", 3, 40, 4, false}, {"hca", 2, 64, 128, false}, {"window", 1, 100, 1, true}}, 130};
}

TEST(PlanMemoryTest, CountsCompressedAndWindowedCaches) {
  const config::ModelConfig config = MustParse(config::kTinyLlamaConfig);
  MemoryPlanOptions options = OptionsFor(config);
  options.kv_layout = WindowedLayout();
  options.block_tokens = 64;  // rounded up to 128
  options.max_sequences = 5;
  options.max_step_tokens = 300;
  constexpr int64_t kBlock = 3 * 32 * 40 + 2 * 64;
  constexpr int64_t kWindowBlock = 128 * 100;
  constexpr int64_t kWindowBlocks = 5 * 3 + 2 * 3;  // 131 tokens reach into 3 blocks; each of two steps fills 3
  const int64_t weights = options.parameters.bytes;
  options.budget_bytes = weights + kWindowBlocks * kWindowBlock + 7 * kBlock + 1;
  auto plan = PlanMemory(config, options);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->block_tokens, 128);
  EXPECT_EQ(plan->kv_bytes_per_token, 31);  // 3 * 40 / 4 + 2 * 64 / 128
  EXPECT_EQ(plan->kv_bytes_per_block, kBlock);
  EXPECT_EQ(plan->window_bytes_per_sequence, 3 * kWindowBlock);
  EXPECT_EQ(plan->window_bytes, kWindowBlocks * kWindowBlock);
  EXPECT_EQ(plan->kv_blocks, 7);
  EXPECT_THAT(plan->ToString(), HasSubstr("130 tokens"));
  options.budget_bytes = weights + kWindowBlocks * kWindowBlock;
  EXPECT_THAT(std::string(PlanMemory(config, options).status().message()), HasSubstr("windows of 5 sequences"));
}

TEST(PlanMemoryTest, RefusesLayoutsThatNoBlockCanHold) {
  const config::ModelConfig config = MustParse(config::kTinyLlamaConfig);
  MemoryPlanOptions options;
  options.kv_layout = {{{"a", 1, 8, 65537, false}, {"b", 1, 8, 65539, false}}, 0};
  EXPECT_THAT(std::string(PlanMemory(config, options).status().message()), HasSubstr("kv_layout"));
  options.kv_layout = {{{"window", 1, 8, 1, true}}, 16};
  options.budget_bytes = int64_t{1} << 40;
  EXPECT_THAT(std::string(PlanMemory(config, options).status().message()),
              HasSubstr("expected a full-attention cache"));
}

TEST(KvLayoutTest, RoundsBytesPerTokenUp) {
  const KvLayout layout = {{{"a", 1, 10, 4, false}, {"b", 1, 1, 3, false}}, 0};
  EXPECT_EQ(layout.block_tokens_multiple(), 12);
  EXPECT_EQ(layout.block_bytes(24), 68);
  EXPECT_EQ(layout.bytes_per_token(), 3);  // 34 / 12
  EXPECT_EQ(layout.round_block_tokens(64), 72);
  EXPECT_EQ(layout.window_blocks_per_sequence(24), 0);
}

TEST(KvLayoutTest, AWindowReachesIntoSoManyBlocks) {
  KvLayout layout;
  for (int32_t window : {1, 2, 5, 128, 129}) {
    for (int32_t block : {1, 4, 64, 128}) {
      layout.window_tokens = window;
      int64_t most = 0;
      for (int32_t t = window; t < window + 3 * block; ++t) {
        most = std::max<int64_t>(most, t / block - (t - window) / block + 1);  // the windows of t - 1 and of t
      }
      EXPECT_EQ(layout.window_blocks_per_sequence(block), most) << window << " tokens, blocks of " << block;
    }
  }
}

TEST(PlanMemoryTest, RefusesOptionsOutOfRange) {
  const config::ModelConfig config = MustParse(config::kTinyLlamaConfig);
  auto code = [&](auto change) {
    MemoryPlanOptions options;
    change(options);
    return PlanMemory(config, options).status().code();
  };
  EXPECT_EQ(code([](MemoryPlanOptions&) {}), absl::StatusCode::kOk);
  constexpr auto kBad = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(code([](MemoryPlanOptions& o) { o.block_tokens = 0; }), kBad);
  EXPECT_EQ(code([](MemoryPlanOptions& o) { o.max_model_len = 65; }), kBad);
  EXPECT_EQ(code([](MemoryPlanOptions& o) { o.budget_bytes = -1; }), kBad);
  EXPECT_EQ(code([](MemoryPlanOptions& o) { o.max_sequences = -1; }), kBad);
  EXPECT_EQ(code([](MemoryPlanOptions& o) { o.workspace_bytes = INT64_MAX; }), kBad);
}

}  // namespace
}  // namespace hadal::plan
