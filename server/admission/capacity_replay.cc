// SPDX-License-Identifier: Apache-2.0
#include "server/admission/capacity_replay.h"

#include <algorithm>
#include <cmath>
#include <queue>

namespace hadal::admission {
namespace {

const double kHorizonSeconds = absl::ToDoubleSeconds(kForecastHorizon);
const double kBucketSeconds = absl::ToDoubleSeconds(kForecastBucket);

class Replay {
 public:
  explicit Replay(const ReplayState& state)
      : state_(state), chunk_(std::max(1.0, state.max_batch_tokens - 0.5 * state.max_batch_size)) {}

  ReplayResult Run() {
    for (const ReplaySequence& sequence : state_.running) Start(sequence);
    result_.starts[0] = static_cast<float>(std::max(0, state_.max_batch_size - static_cast<int>(ends_.size())));
    result_.blocks[0] = static_cast<float>(state_.free_blocks);
    free_blocks_ = state_.free_blocks;
    StartWaiting();
    int replayed = 0;
    while (!ends_.empty() && replayed < kMaxReplayed && seconds_ < kHorizonSeconds) {
      EndNext();
      ++replayed;
      StartWaiting();
    }
    Accumulate();
    return result_;
  }

 private:
  struct End {
    double step;
    double context_tokens;  // that it holds then
    double blocks;
    bool operator>(const End& other) const { return step > other.step; }
  };

  void Start(const ReplaySequence& sequence) {
    // Prompts are computed one after the other.
    backlog_ += sequence.prefill_tokens;
    const double prefill_steps = sequence.prefill_tokens > 0 ? std::ceil(backlog_ / chunk_) : 0;
    ends_.push({step_ + prefill_steps + std::max(1.0, sequence.output_tokens),
                sequence.context_tokens + sequence.prefill_tokens + sequence.output_tokens, sequence.blocks});
    context_tokens_ += sequence.context_tokens + sequence.prefill_tokens;
  }

  void StartWaiting() {
    while (static_cast<int32_t>(ends_.size()) < state_.max_batch_size) {
      if (next_waiting_ < state_.waiting.size()) {
        Start(state_.waiting[next_waiting_++]);
        continue;
      }
      const ReplaySequence& arrival = state_.arriving[next_arriving_ % state_.arriving.size()];
      if (arrival.blocks > free_blocks_ && !ends_.empty()) return;
      ++next_arriving_;
      free_blocks_ -= arrival.blocks;
      Start(arrival);
    }
  }

  void EndNext() {
    const End end = ends_.top();
    const double steps = end.step - step_;
    const double sequences = static_cast<double>(ends_.size());
    const double prefilled = std::min(backlog_, steps * chunk_);
    const double context = context_tokens_ + sequences * steps / 2;
    seconds_ += steps * state_.step_time.Seconds(sequences, context, 0) + state_.step_time.prefill_token_s * prefilled;
    step_ = end.step;
    backlog_ -= prefilled;
    context_tokens_ = std::max(0.0, context_tokens_ + sequences * steps - end.context_tokens);
    free_blocks_ += end.blocks;
    ends_.pop();
    const int bucket = static_cast<int>(std::ceil(seconds_ / kBucketSeconds));
    if (bucket > kForecastBuckets) return;
    result_.starts[bucket] += 1;
    result_.blocks[bucket] += static_cast<float>(end.blocks);
  }

  // What came free in each bucket becomes what has come free by then.
  void Accumulate() {
    const int last = std::min(kForecastBuckets, static_cast<int>(std::floor(seconds_ / kBucketSeconds)));
    double starts = 0;
    double blocks = 0;
    for (int i = 1; i <= last; ++i) {
      starts += result_.starts[i];
      blocks += result_.blocks[i];
      result_.starts[i] += result_.starts[i - 1];
      result_.blocks[i] += result_.blocks[i - 1];
    }
    const auto a_bucket = [&](double amount) { return static_cast<float>(last > 0 ? amount / last : 0); };
    for (int i = last + 1; i <= kForecastBuckets; ++i) {
      result_.starts[i] = result_.starts[i - 1] + a_bucket(starts);
      result_.blocks[i] = result_.blocks[i - 1] + a_bucket(blocks);
    }
  }

  const ReplayState& state_;
  const double chunk_;  // prompt tokens in a step
  ReplayResult result_;
  std::priority_queue<End, std::vector<End>, std::greater<>> ends_;
  size_t next_waiting_ = 0;
  size_t next_arriving_ = 0;
  double step_ = 0;
  double seconds_ = 0;
  double backlog_ = 0;  // prompt tokens to compute
  double context_tokens_ = 0;
  double free_blocks_ = 0;
};

}  // namespace

ReplayResult ReplayCapacity(const ReplayState& state) { return Replay(state).Run(); }

}  // namespace hadal::admission
