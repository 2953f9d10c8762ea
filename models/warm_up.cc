// SPDX-License-Identifier: Apache-2.0
#include "models/warm_up.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "models/decode_bucket.h"

namespace hadal::models {
namespace {

constexpr int32_t kPromptTokens = 32;  // of the prompt on a processor, and of a chunk after a prefix
constexpr int32_t kFirstChunk = 16;
constexpr int32_t kPrefixTokens = 2;  // of each sequence that decodes
constexpr int32_t kMostPadded = 64;   // larger steps keep their size
// Tokens of a prompt that are computed in the time of one pass over the weights: the operations for each byte read at
// which computing takes as long as reading. A device also loads kernels and records graphs, which is no less.
constexpr int64_t kTokensPerPass = 16, kTokensPerDevicePass = 256;

int32_t BlocksFor(int32_t tokens, int32_t block_tokens) { return (tokens + block_tokens - 1) / block_tokens; }

int32_t PoolBlocks(const KvCacheSize& cache) {
  return cache.window_blocks > 0 ? std::min(cache.blocks, cache.window_blocks) : cache.blocks;
}

// Decode in every size that steps are padded to, and beyond by powers of two, after one short prompt each.
void AddDecodes(const WarmUpLimits& limits, int32_t longest, std::vector<WarmUpStep>& steps) {
  if (longest <= kPrefixTokens) return;
  const int32_t blocks = BlocksFor(kPrefixTokens + 1, limits.cache.block_tokens);
  const int32_t most =
      std::min({limits.max_sequences, PoolBlocks(limits.cache) / blocks, limits.max_tokens / kPrefixTokens});
  if (most < 1) return;
  steps.push_back({most, 0, kPrefixTokens});
  int32_t sequences = 1;
  while (sequences < most) {
    steps.push_back({sequences, kPrefixTokens, 1});
    sequences = sequences < kMostPadded ? DecodeBucket(sequences + 1, /*experts=*/false) : 2 * sequences;
  }
  steps.push_back({most, kPrefixTokens, 1});
  // A first request is alone: a device that replays steps records the second one of a kind, and the one above may have
  // been the first in which it met this attention. Other sizes are recorded when they come: a start is short.
  steps.insert(steps.end(), 2, {1, kPrefixTokens, 1});
}

// Chunks of every length, and one that follows a prefix.
void AddChunks(int32_t longest, std::vector<WarmUpStep>& steps) {
  for (int64_t tokens = kFirstChunk; tokens < longest; tokens *= 4) {
    steps.push_back({1, 0, static_cast<int32_t>(tokens)});
  }
  steps.push_back({1, 0, longest});
}

// Greedy, random with probabilities and under a mask take turns.
SampleRow Row(int32_t sequence, int32_t token_index, int32_t vocab_size) {
  SampleRow row;
  row.token_index = token_index;
  SamplingParams params;
  params.temperature = sequence % 3 == 0 ? 0.0f : 1.0f;
  if (sequence % 3 == 1) {
    params.top_p = 0.9f;
    params.top_k = 50;
    row.top_logprobs = 5;
  }
  if (sequence % 3 == 2) {
    const size_t words = (static_cast<size_t>(vocab_size) + 31) / 32;
    row.allowed_tokens = std::make_shared<const std::vector<uint32_t>>(words, ~uint32_t{0});
  }
  row.params = std::make_shared<const SamplingParams>(std::move(params));
  return row;
}

StepInput Build(const WarmUpStep& step, const KvCacheSize& cache, int32_t vocab_size) {
  const int32_t blocks = BlocksFor(step.cached + step.tokens, cache.block_tokens);
  StepInput input;
  input.query_start.push_back(0);
  input.block_table_stride = blocks;
  for (int32_t s = 0; s < step.sequences; ++s) {
    for (int32_t i = 0; i < step.tokens; ++i) {
      const int32_t position = step.cached + i;
      const int64_t block = int64_t{s} * blocks + position / cache.block_tokens;
      // Ids far apart, so that a router sends them to many experts.
      input.token_ids.push_back(static_cast<int32_t>((int64_t{s} * 104729 + int64_t{position} * 7919) % vocab_size));
      input.positions.push_back(position);
      input.slot_mapping.push_back(block * cache.block_tokens + position % cache.block_tokens);
    }
    for (int32_t b = 0; b < blocks; ++b) input.block_tables.push_back(s * blocks + b);
    input.query_start.push_back(input.tokens());
    input.context_lens.push_back(step.cached + step.tokens);
    input.samples.push_back(Row(s, input.tokens() - 1, vocab_size));
  }
  if (cache.window_blocks > 0) {
    input.window_slot_mapping = input.slot_mapping;
    input.window_block_tables = input.block_tables;
  }
  return input;
}

absl::Status Run(Model& model, StepInput input) {
  const absl::StatusOr<StepHandle> handle = model.Launch(std::move(input));
  return handle.ok() ? model.Wait(*handle).status() : handle.status();
}

// About what a step takes, in tokens of a prompt.
int64_t Cost(const WarmUpStep& step, const WarmUpLimits& limits) {
  const int64_t pass = limits.every_size ? kTokensPerDevicePass : kTokensPerPass;
  return pass + int64_t{step.sequences} * step.tokens;
}

}  // namespace

std::vector<WarmUpStep> WarmUpSteps(const WarmUpLimits& limits, int32_t max_model_len) {
  const int64_t room = int64_t{PoolBlocks(limits.cache)} * limits.cache.block_tokens;
  const int32_t context = static_cast<int32_t>(std::min<int64_t>(max_model_len, room));
  const int32_t chunk = std::min(limits.max_tokens, context);
  std::vector<WarmUpStep> steps;
  if (limits.every_size) {
    AddDecodes(limits, context, steps);
    AddChunks(chunk, steps);
    const int32_t rest = std::min({kPromptTokens, context - chunk / 2, limits.max_tokens});
    steps.push_back({1, chunk / 2, rest});
  } else {
    const int32_t prompt = std::min(kPromptTokens, chunk);
    steps.push_back({1, 0, prompt});
    if (prompt < context) steps.push_back({1, prompt, 1});
  }
  return steps;
}

absl::StatusOr<int> WarmUp(Model& model, const WarmUpLimits& limits, const std::function<void(double share)>& on_step) {
  const ModelInfo& info = model.info();
  const std::vector<WarmUpStep> steps = WarmUpSteps(limits, info.max_model_len);
  model.BeginWarmUp();
  const absl::Cleanup end = [&] { model.EndWarmUp(); };
  int64_t all = 0, done = 0;
  for (const WarmUpStep& step : steps) all += Cost(step, limits);
  for (const WarmUpStep& step : steps) {
    const absl::Status status = Run(model, Build(step, limits.cache, info.vocab_size));
    if (status.ok()) {
      done += Cost(step, limits);
      if (on_step) on_step(static_cast<double>(done) / static_cast<double>(all));
      continue;
    }
    return absl::Status(status.code(),
                        absl::StrCat(info.name, ": warm-up on ", info.device, ": a step of ", step.sequences, " x ",
                                     step.tokens, " tokens after ", step.cached, " others failed: ", status.message()));
  }
  return static_cast<int>(steps.size());
}

}  // namespace hadal::models
