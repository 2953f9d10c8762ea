// SPDX-License-Identifier: Apache-2.0
#include "server/admission/capacity_replay.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <queue>

namespace hadal::admission {
namespace {

const double kHorizonSeconds = absl::ToDoubleSeconds(kForecastHorizon);
const double kBucketSeconds = absl::ToDoubleSeconds(kForecastBucket);

class Replay {
 public:
  explicit Replay(const ReplayState& state) : state_(state) {}

  ReplayResult Run() {
    for (const ReplaySequence& sequence : state_.running) Start(sequence);
    result_.starts[0] = static_cast<float>(std::max(0, state_.max_batch_size - static_cast<int>(ends_.size())));
    result_.blocks[0] = static_cast<float>(state_.free_blocks);
    free_blocks_ = state_.free_blocks;
    int replayed = 0;
    for (StartWaiting(); !ends_.empty() && replayed < kMaxReplayed && seconds_ < kHorizonSeconds; StartWaiting()) {
      const double to_end = ends_.top().step - step_;
      const double to_turn = StepsToTurn();
      Advance(std::min(to_end, to_turn));
      if (to_turn < to_end) continue;
      EndNext();
      ++replayed;
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

  double Sequences() const { return static_cast<double>(ends_.size()); }
  // Prompt tokens in a step: what those that decode leave. One of them is still at its prompt.
  double Chunk() const { return std::max(1.0, state_.max_batch_tokens - std::max(0.0, Sequences() - 1)); }
  bool HasPlace() const { return static_cast<int32_t>(ends_.size()) < state_.max_batch_size; }

  void Start(const ReplaySequence& sequence) {
    backlog_ += sequence.prefill_tokens;
    const double prefill_steps = sequence.prefill_tokens > 0 ? std::ceil(backlog_ / Chunk()) : 0;
    ends_.push({step_ + prefill_steps + std::max(1.0, sequence.output_tokens),
                sequence.context_tokens + sequence.prefill_tokens + sequence.output_tokens, sequence.blocks});
    context_tokens_ += sequence.context_tokens + sequence.prefill_tokens;
  }

  // The next that has blocks, or null.
  const ReplaySequence* NextToStart() const {
    if (next_waiting_ < state_.waiting.size()) return &state_.waiting[next_waiting_];
    const ReplaySequence& arrival = state_.arriving[next_arriving_ % state_.arriving.size()];
    return arrival.blocks > free_blocks_ && !ends_.empty() ? nullptr : &arrival;
  }

  void StartWaiting() {
    while (HasPlace() && backlog_ < Chunk()) {
      const ReplaySequence* next = NextToStart();
      if (next == nullptr) return;
      if (next_waiting_ < state_.waiting.size()) {
        ++next_waiting_;
      } else {
        ++next_arriving_;
        free_blocks_ -= next->blocks;
      }
      Start(*next);
    }
  }

  // Until a sequence that has a place has the prompts before it behind it; infinite when there is none.
  double StepsToTurn() const {
    if (!HasPlace() || NextToStart() == nullptr) return std::numeric_limits<double>::infinity();
    return std::floor(backlog_ / Chunk());
  }

  void Advance(double steps) {
    const double chunk = Chunk();
    const double prefilled = std::min(backlog_, steps * chunk);
    const double context = context_tokens_ + Sequences() * steps / 2;
    const double step_seconds = state_.step_time.Seconds(Sequences(), context, 0);
    const double prefill_token_s = state_.step_time.prefill_token_s;
    const double seconds = steps * step_seconds + prefill_token_s * prefilled;
    AddPromptRoom(seconds, chunk / std::max(1e-9, step_seconds + prefill_token_s * chunk));
    seconds_ += seconds;
    step_ += steps;
    backlog_ -= prefilled;
    context_tokens_ += Sequences() * steps;
  }

  // So many prompt tokens a second can be computed from now on for so long, if there are any.
  void AddPromptRoom(double seconds, double tokens_per_second) {
    const double end = seconds_ + seconds;
    for (double from = seconds_; from < end;) {
      const int bucket = static_cast<int>(from / kBucketSeconds) + 1;
      if (bucket > kForecastBuckets) return;
      const double until = std::min(end, bucket * kBucketSeconds);
      result_.prompt_tokens[bucket] += static_cast<float>(tokens_per_second * (until - from));
      from = until;
    }
  }

  void EndNext() {
    const End end = ends_.top();
    ends_.pop();
    if (ends_.empty()) backlog_ = 0;
    context_tokens_ = std::max(0.0, context_tokens_ - end.context_tokens);
    free_blocks_ += end.blocks;
    const int bucket = static_cast<int>(std::ceil(seconds_ / kBucketSeconds));
    if (bucket > kForecastBuckets) return;
    result_.starts[bucket] += 1;
    result_.blocks[bucket] += static_cast<float>(end.blocks);
  }

  // What came in each bucket becomes what has come by then.
  void Accumulate() {
    const int last = std::min(kForecastBuckets, static_cast<int>(std::floor(seconds_ / kBucketSeconds)));
    // Of a replay that ends within the first bucket the part that it saw.
    const double seen = last > 0 ? last : seconds_ / kBucketSeconds;
    for (auto* column : {&result_.starts, &result_.blocks, &result_.prompt_tokens}) {
      double sum = last > 0 ? 0 : (*column)[1];
      for (int i = 1; i <= last; ++i) {
        sum += (*column)[i];
        (*column)[i] += (*column)[i - 1];
      }
      const auto a_bucket = static_cast<float>(seen > 0 ? sum / seen : 0);
      for (int i = last + 1; i <= kForecastBuckets; ++i) (*column)[i] = (*column)[i - 1] + a_bucket;
    }
  }

  const ReplayState& state_;
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
