// SPDX-License-Identifier: Apache-2.0
#include "server/pipeline/step_codec.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/pipeline/steps.h"

namespace hadal::pipeline {
namespace {

using models::SampleRow;
using models::StepInput;
using testing::FullStep;
using ::testing::HasSubstr;
using testing::kLimits;

std::vector<std::byte> Encoded(const StepInput& input) {
  std::vector<std::byte> bytes;
  EncodeStep(input, &bytes);
  return bytes;
}

std::string ErrorOf(const StepInput& input, const StepLimits& limits = kLimits) {
  return std::string(DecodeStep(Encoded(input), limits).status().message());
}

void ExpectSameRow(const SampleRow& a, const SampleRow& b) {
  EXPECT_EQ(a.token_index, b.token_index);
  EXPECT_EQ(a.random_counter, b.random_counter);
  EXPECT_EQ(a.target_token, b.target_token);
  EXPECT_EQ(a.top_logprobs, b.top_logprobs);
  EXPECT_EQ(a.forbidden_tokens, b.forbidden_tokens);
  ASSERT_EQ(a.allowed_tokens == nullptr, b.allowed_tokens == nullptr);
  if (a.allowed_tokens != nullptr) {
    EXPECT_EQ(*a.allowed_tokens, *b.allowed_tokens);
  }
  ASSERT_EQ(a.penalties.size(), b.penalties.size());
  for (size_t i = 0; i < a.penalties.size(); ++i) {
    EXPECT_EQ(a.penalties[i].token_id, b.penalties[i].token_id);
    EXPECT_EQ(a.penalties[i].output_count, b.penalties[i].output_count);
    EXPECT_EQ(a.penalties[i].in_prompt, b.penalties[i].in_prompt);
  }
  ASSERT_EQ(a.params == nullptr, b.params == nullptr);
  if (a.params == nullptr) return;
  EXPECT_EQ(a.params->temperature, b.params->temperature);
  EXPECT_EQ(a.params->top_k, b.params->top_k);
  EXPECT_EQ(a.params->top_p, b.params->top_p);
  EXPECT_EQ(a.params->min_p, b.params->min_p);
  EXPECT_EQ(a.params->repetition_penalty, b.params->repetition_penalty);
  EXPECT_EQ(a.params->frequency_penalty, b.params->frequency_penalty);
  EXPECT_EQ(a.params->presence_penalty, b.params->presence_penalty);
  EXPECT_EQ(a.params->seed, b.params->seed);
  EXPECT_EQ(a.params->logit_bias, b.params->logit_bias);
}

TEST(StepCodecTest, GivesAStepBack) {
  const StepInput step = FullStep();
  const auto back = DecodeStep(Encoded(step), kLimits);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->token_ids, step.token_ids);
  EXPECT_EQ(back->positions, step.positions);
  EXPECT_EQ(back->slot_mapping, step.slot_mapping);
  EXPECT_EQ(back->query_start, step.query_start);
  EXPECT_EQ(back->context_lens, step.context_lens);
  EXPECT_EQ(back->block_table_stride, step.block_table_stride);
  EXPECT_EQ(back->block_tables, step.block_tables);
  EXPECT_EQ(back->window_slot_mapping, step.window_slot_mapping);
  EXPECT_EQ(back->window_block_tables, step.window_block_tables);
  ASSERT_EQ(back->samples.size(), step.samples.size());
  for (size_t i = 0; i < step.samples.size(); ++i) ExpectSameRow(back->samples[i], step.samples[i]);
}

TEST(StepCodecTest, ZerosThatFillATableAreNotSent) {
  StepInput step = FullStep();
  const size_t full = Encoded(step).size();
  for (int32_t column = 2; column < step.block_table_stride; ++column) step.block_tables[column] = 0;
  EXPECT_EQ(Encoded(step).size(), full - 6 * sizeof(int32_t));
  const auto back = DecodeStep(Encoded(step), kLimits);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->block_tables, step.block_tables);
}

TEST(StepCodecTest, EveryTruncationIsRefused) {
  const std::vector<std::byte> bytes = Encoded(FullStep());
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_FALSE(DecodeStep(absl::MakeConstSpan(bytes).first(length), kLimits).ok()) << length;
  }
  std::vector<std::byte> longer = bytes;
  longer.push_back(std::byte{0});
  EXPECT_THAT(std::string(DecodeStep(longer, kLimits).status().message()), HasSubstr("1 bytes after the last value"));
}

TEST(StepCodecTest, NamesWhatIsBeyondItsLimit) {
  const StepInput step = FullStep();
  StepLimits limits = kLimits;
  limits.max_tokens = 5;
  EXPECT_THAT(ErrorOf(step, limits), HasSubstr("token_ids: 6 entries, limit 5"));
  limits = kLimits;
  limits.max_sequences = 1;
  EXPECT_THAT(ErrorOf(step, limits), HasSubstr("query_start: 3 entries, limit 2"));
  limits = kLimits;
  limits.max_model_len = 28;
  EXPECT_THAT(ErrorOf(step, limits), HasSubstr("block_table_stride: 8 blocks, limit 7"));
  limits = kLimits;
  limits.vocab_size = 1;
  EXPECT_THAT(ErrorOf(step, limits), HasSubstr("logit_bias: 2 entries, limit 1"));
  StepInput many = step;
  many.samples.resize(37, step.samples[1]);
  EXPECT_THAT(ErrorOf(many), HasSubstr("samples: 37 entries, limit 36"));
}

TEST(StepCodecTest, ACountAllocatesNothingThatTheBytesDoNotHold) {
  std::vector<std::byte> bytes(4, std::byte{0xff});
  StepLimits limits = kLimits;
  limits.max_tokens = std::numeric_limits<int32_t>::max();
  EXPECT_THAT(std::string(DecodeStep(bytes, limits).status().message()), HasSubstr("token_ids: 4294967295 entries"));
  bytes = {std::byte{0xff}, std::byte{0xff}, std::byte{0xff}, std::byte{0x0f}};
  EXPECT_THAT(std::string(DecodeStep(bytes, limits).status().message()), HasSubstr("entries in 0 bytes"));
}

TEST(StepCodecTest, TheBoundHoldsTheLargestStep) {
  models::testing::StepBuilder builder(4, 16, /*windowed=*/true);
  for (int32_t s = 0; s < kLimits.max_sequences; ++s) {
    builder.Add(s, 40, std::vector<int32_t>(8, 1));
    models::SamplingParams params;
    for (int32_t t = 0; t < kLimits.vocab_size; ++t) params.logit_bias.push_back({t, 1.0f});
    SampleRow& row = builder.Sample(params);
    for (int32_t t = 0; t < kLimits.vocab_size; ++t) {
      row.penalties.push_back({t, 1, true});
      row.forbidden_tokens.push_back(t);
    }
    row.allowed_tokens = std::make_shared<const std::vector<uint32_t>>(4, ~0u);
  }
  for (int32_t t = 0; t < kLimits.max_tokens; ++t) builder.Score(t, 1);
  StepInput step = builder.Take();
  for (int32_t& block : step.block_tables) ++block;  // no zero that could be left out
  step.window_block_tables = step.block_tables;
  const std::vector<std::byte> bytes = Encoded(step);
  EXPECT_LE(static_cast<int64_t>(bytes.size()), kLimits.MaxStepBytes());
  const auto back = DecodeStep(bytes, kLimits);
  EXPECT_TRUE(back.ok()) << back.status();
}

TEST(StepCodecTest, GivesAResultBack) {
  StepResult result;
  result.output.samples.push_back({.token_id = 7, .logprob = -0.5f, .top = {{7, -0.5f}, {8, -1.5f}}});
  result.output.samples.push_back({.faulty = true});
  result.facts = {{70, 100, 2000}, {30, 50, 1000}};
  std::vector<std::byte> bytes;
  EncodeResult(result, &bytes);
  const auto back = DecodeResult(bytes, kLimits);
  ASSERT_TRUE(back.ok()) << back.status();
  ASSERT_EQ(back->output.samples.size(), 2u);
  EXPECT_EQ(back->output.samples[0].token_id, 7);
  EXPECT_EQ(back->output.samples[0].logprob, -0.5f);
  ASSERT_EQ(back->output.samples[0].top.size(), 2u);
  EXPECT_EQ(back->output.samples[0].top[1].token_id, 8);
  EXPECT_EQ(back->output.samples[0].top[1].logprob, -1.5f);
  EXPECT_TRUE(back->output.samples[1].faulty);
  ASSERT_EQ(back->facts.size(), 2u);
  EXPECT_EQ(back->facts[1].busy_us, 30u);
  EXPECT_EQ(back->facts[1].wait_us, 50u);
  EXPECT_EQ(back->facts[1].sent_bytes, 1000u);
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_FALSE(DecodeResult(absl::MakeConstSpan(bytes).first(length), kLimits).ok()) << length;
  }
}

TEST(StepCodecTest, TheBoundHoldsTheLargestResult) {
  StepResult result;
  result.output.samples.resize(static_cast<size_t>(kLimits.max_samples()));
  for (models::SampleResult& sample : result.output.samples) sample.top.resize(20);
  result.facts.resize(kMaxParts);
  std::vector<std::byte> bytes;
  EncodeResult(result, &bytes);
  EXPECT_LE(static_cast<int64_t>(bytes.size()), kLimits.MaxOutputBytes());
  EXPECT_TRUE(DecodeResult(bytes, kLimits).ok());
}

}  // namespace
}  // namespace hadal::pipeline
