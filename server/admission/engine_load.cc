// SPDX-License-Identifier: Apache-2.0
#include "server/admission/engine_load.h"

#include <algorithm>

namespace hadal::admission {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr int kReadAttempts = 4;

}  // namespace

void EngineLoad::SetStep(const Step& step) {
  max_batch_size_.store(step.max_batch_size, kRelaxed);
  max_batch_tokens_.store(step.max_batch_tokens, kRelaxed);
  step_s_.store(step.time.step_s, kRelaxed);
  sequence_s_.store(step.time.sequence_s, kRelaxed);
  context_token_s_.store(step.time.context_token_s, kRelaxed);
  prefill_token_s_.store(step.time.prefill_token_s, kRelaxed);
}

EngineLoad::Step EngineLoad::step() const {
  Step step;
  step.max_batch_size = max_batch_size_.load(kRelaxed);
  step.max_batch_tokens = max_batch_tokens_.load(kRelaxed);
  step.time = {step_s_.load(kRelaxed), sequence_s_.load(kRelaxed), context_token_s_.load(kRelaxed),
               prefill_token_s_.load(kRelaxed)};
  return step;
}

void EngineLoad::Read(std::vector<RunningSequence>* sequences) const {
  for (int attempt = 0; attempt < kReadAttempts; ++attempt) {
    const uint32_t before = version_.load(std::memory_order_acquire);
    sequences->resize(static_cast<size_t>(std::min(published_.load(kRelaxed), kMaxSequences)));
    for (size_t i = 0; i < sequences->size(); ++i) {
      const uint64_t first = words_[2 * i].load(kRelaxed);
      const uint64_t second = words_[2 * i + 1].load(kRelaxed);
      RunningSequence& sequence = (*sequences)[i];
      const auto bits = [](uint64_t word, int from, int count) {
        return static_cast<int32_t>(word >> from & ((uint64_t{1} << count) - 1));
      };
      sequence.thinking = (first >> 63) != 0;
      sequence.max_tokens = bits(first, 42, 21);
      sequence.produced = bits(first, 21, 21);
      sequence.prefill_tokens = bits(first, 0, 21);
      sequence.priority = static_cast<request::Priority>(second >> 62);
      sequence.fixed_length = (second >> 61 & 1) != 0;
      sequence.blocks = bits(second, 31, 30);
      sequence.context_tokens = bits(second, 0, 31);
    }
    std::atomic_thread_fence(std::memory_order_acquire);
    if (before % 2 == 0 && version_.load(kRelaxed) == before) return;
  }
}

}  // namespace hadal::admission
