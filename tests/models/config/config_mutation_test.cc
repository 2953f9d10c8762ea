// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "models/config/config.h"
#include "models/plan/memory_plan.h"
#include "tests/models/config/config_texts.h"
#include "tests/models/config/mutator.h"
#include "tests/models/outline.h"

namespace hadal::config {
namespace {

void CheckRope(const kernels::RopeConfig& rope) {
  ASSERT_GE(rope.dim, 2);
  ASSERT_EQ(rope.dim % 2, 0);
  ASSERT_GE(rope.factor, 1.0);
}

void CheckAttention(const ModelConfig&, const GqaConfig& attention) {
  ASSERT_GE(attention.heads, 1);
  ASSERT_EQ(attention.heads % attention.kv_heads, 0);
  CheckRope(attention.rope);
}

void CheckAttention(const ModelConfig&, const MlaConfig& attention) {
  ASSERT_GE(attention.heads, 1);
  ASSERT_EQ(attention.rope.dim, attention.qk_rope_head_dim);
  CheckRope(attention.rope);
}

void CheckAttention(const ModelConfig& config, const HybridAttentionConfig& attention) {
  ASSERT_GE(attention.heads, 1);
  ASSERT_EQ(static_cast<int64_t>(attention.layers.size()), config.layers);
  ASSERT_EQ(attention.heads % attention.o_groups, 0);
  ASSERT_LE(attention.rope_head_dim, attention.head_dim);
  ASSERT_EQ(attention.sliding_rope.dim, attention.rope_head_dim);
  ASSERT_EQ(attention.compressed_rope.dim, attention.rope_head_dim);
  CheckRope(attention.sliding_rope);
  CheckRope(attention.compressed_rope);
  ASSERT_TRUE(config.moe.has_value() && config.hyper_connections.has_value());
  ASSERT_LE(config.moe->hash_layers, config.layers);
  for (HybridLayer kind : attention.layers) {
    ASSERT_TRUE(kind != HybridLayer::kCsa || attention.indexer.has_value());
  }
}

// What everything that builds on a parsed configuration relies on.
void CheckInvariants(const ModelConfig& config) {
  ASSERT_GE(config.layers, 1);
  std::visit([&](const auto& attention) { CheckAttention(config, attention); }, config.attention);
  for (int32_t id : config.eos_token_ids) ASSERT_LT(id, config.vocab_size);
  if (config.moe) {
    ASSERT_EQ(config.moe->routed_experts % config.moe->groups, 0);
    ASSERT_LE(config.moe->experts_per_token, config.moe->routed_experts);
  }
  if (config.layers * (config.moe ? config.moe->routed_experts : 1) <= 4096) {
    const auto family = models::FindFamily(config.architecture);
    ASSERT_TRUE(family.ok()) << family.status();
    const auto outline = models::NetworkOutline::Create(**family, config, kernels::DType::kBF16);
    if (!outline.ok()) {
      // More than 2^50 parameters, which no single field's limit excludes.
      ASSERT_EQ(outline.status().code(), absl::StatusCode::kInvalidArgument) << outline.status();
    } else {
      const checkpoint::ParameterTotals& totals = (*outline)->totals();
      ASSERT_GT(totals.parameters, 0);
      ASSERT_LE(totals.parameters, int64_t{1} << 50);
      ASSERT_LE(totals.active, totals.parameters + config.vocab_size * config.hidden_size);
      ASSERT_LE((*outline)->tensors().size(), 4096u * 16);
    }
  }
  auto plan = plan::PlanMemory(config, plan::MemoryPlanOptions());
  ASSERT_TRUE(plan.ok()) << plan.status();
}

TEST(ConfigMutationTest, NeverCrashesNorGrows) {
  const char* const bases[] = {kDeepseekV3Config,     kLlama8bConfig,      kQwen15bConfig,
                               kTinyLlamaConfig,      kTinyDeepseekConfig, kDeepseekV4FlashConfig,
                               kTinyDeepseekV4Config, kTinyQwen3Config,    kTinyDeepseekMoeConfig,
                               kTinyDeepseekV2Config, kDeepseekV32Config,  kTinyDeepseekV32Config};
  Mutator mutator(20260711);
  const int64_t iterations = FuzzIterations();
  const int64_t rss_before = PeakRssBytes();
  int64_t accepted = 0;
  for (int64_t i = 0; i < iterations; ++i) {
    const std::string text = mutator.Mutate(bases[static_cast<size_t>(i) % std::size(bases)]);
    // Now and then the damage is in generation_config.json instead.
    const bool generation = i % 16 == 0;
    auto config = generation
                      ? ParseModelConfig(kLlama8bConfig, "config.json", mutator.Mutate(R"({"eos_token_id":[1,2,3]})"))
                      : ParseModelConfig(text);
    if (config.ok()) {
      ++accepted;
      CheckInvariants(*config);
      if (HasFatalFailure()) FAIL() << "iteration " << i << ": " << text;
    } else {
      EXPECT_FALSE(config.status().message().empty());
      EXPECT_LT(config.status().message().size(), 4096u);
    }
  }
  EXPECT_LT(PeakRssBytes() - rss_before, kAllowedGrowthBytes);
  // The damage must reach deep: neither all nor none of it may pass.
  EXPECT_GT(accepted, iterations / 100);
  EXPECT_LT(accepted, iterations * 9 / 10);
}

}  // namespace
}  // namespace hadal::config
