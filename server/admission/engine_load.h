// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

#include "server/admission/wait_forecast.h"
#include "server/request/request.h"

namespace hadal::admission {

// The properties of a sequence in the engine that determine when others can start.
struct RunningSequence {
  request::Priority priority = request::Priority::kNormal;
  int32_t blocks = 0;          // KV blocks of its lease
  int32_t context_tokens = 0;  // in the cache
  int32_t produced = 0;        // tokens so far
  int32_t max_tokens = 0;      // upper bound of `produced`
  int32_t prefill_tokens = 0;  // prompt tokens still to be computed
  bool thinking = false;       // as in its request
  bool fixed_length = false;   // it will have `max_tokens`
};

// The state that an engine publishes after each step. One thread writes, any thread reads, and neither waits. Scalars
// are independent atomics and may belong to different steps. Sequences are read under a version counter: a reader that
// overlaps a write retries, and after several attempts accepts a mixture of two steps.
class EngineLoad {
 public:
  // Further sequences are counted and assumed to be like these.
  static constexpr int32_t kMaxSequences = 1024;

  struct Step {
    int32_t max_batch_size = 0;    // sequences in a step
    int32_t max_batch_tokens = 0;  // tokens in a full step, on average lately
    StepTime time;                 // all 0 before the first step
  };

  // --- the engine ---
  void SetStep(const Step& step);
  // Begin, each sequence, End.
  void BeginSequences() {
    version_.fetch_add(1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    count_ = 0;
  }
  void AddSequence(const RunningSequence& sequence) {
    const int32_t index = count_++;
    if (index >= kMaxSequences) return;
    words_[2 * index].store(uint64_t{sequence.thinking} << 63 | Bits<21>(sequence.max_tokens) << 42 |
                                Bits<21>(sequence.produced) << 21 | Bits<21>(sequence.prefill_tokens),
                            std::memory_order_relaxed);
    words_[2 * index + 1].store(uint64_t{static_cast<uint8_t>(sequence.priority)} << 62 |
                                    uint64_t{sequence.fixed_length} << 61 | Bits<30>(sequence.blocks) << 31 |
                                    Bits<31>(sequence.context_tokens),
                                std::memory_order_relaxed);
  }
  void EndSequences() {
    published_.store(count_, std::memory_order_relaxed);
    version_.fetch_add(1, std::memory_order_release);
  }

  // --- anyone ---
  Step step() const;
  int32_t sequences() const { return published_.load(std::memory_order_relaxed); }
  // At most kMaxSequences.
  void Read(std::vector<RunningSequence>* sequences) const;

 private:
  // Saturates at the largest number that fits into kBits.
  template <int kBits>
  static uint64_t Bits(int32_t value) {
    constexpr int64_t kLargest = (int64_t{1} << kBits) - 1;
    return static_cast<uint64_t>(value > kLargest ? kLargest : value);
  }

  std::atomic<int32_t> max_batch_size_{0}, max_batch_tokens_{0};
  std::atomic<double> step_s_{0}, sequence_s_{0}, context_token_s_{0}, prefill_token_s_{0};
  std::atomic<uint32_t> version_{0};  // odd while a writer is at work
  std::atomic<int32_t> published_{0};
  int32_t count_ = 0;  // the writer's
  std::array<std::atomic<uint64_t>, 2 * kMaxSequences> words_ = {};
};

}  // namespace hadal::admission
