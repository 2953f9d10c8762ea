// SPDX-License-Identifier: Apache-2.0
#include "server/admission/wait_forecast.h"

#include <algorithm>
#include <cmath>

namespace hadal::admission {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

// An engine that stands still does not make the progress that was foreseen: a forecast never counts as older.
constexpr absl::Duration kOldestForecast = absl::Seconds(1);

template <typename From, typename To>
void Store(const From& from, To& to) {
  for (size_t i = 0; i < from.size(); ++i) to[i].store(from[i], kRelaxed);
}
template <typename From, typename To>
void Read(const From& from, To& to) {
  for (size_t i = 0; i < from.size(); ++i) to[i] = from[i].load(kRelaxed);
}

// The value of a column `position` buckets after the forecast was made.
template <typename Column>
double At(const Column& column, double position) {
  const int below = std::clamp(static_cast<int>(position), 0, kForecastBuckets);
  const int above = std::min(below + 1, kForecastBuckets);
  const double from = column[below].load(kRelaxed);
  return from + (column[above].load(kRelaxed) - from) * std::clamp(position - below, 0.0, 1.0);
}

// Seconds to compute a prompt, in chunks beside `sequences` that decode.
double PrefillSeconds(const StepTime& step, double prompt_tokens, double sequences, double context_tokens,
                      int32_t max_batch_tokens) {
  const double chunk = std::max(1.0, max_batch_tokens - sequences);
  const double steps = std::max(1.0, std::ceil(prompt_tokens / chunk));
  return steps * step.Seconds(sequences + 1, context_tokens + prompt_tokens / 2, 0) +
         step.prefill_token_s * prompt_tokens;
}

}  // namespace

void WaitForecast::Publish(const ForecastTable& table) {
  made_us_.store(absl::ToUnixMicros(table.made), kRelaxed);
  started_before_.store(table.started_before, kRelaxed);
  Store(table.starts, starts_);
  Store(table.blocks, blocks_);
  Store(table.arrivals_per_second, arrivals_);
  Store(table.share, share_);
  step_s_.store(table.step_time.step_s, kRelaxed);
  sequence_s_.store(table.step_time.sequence_s, kRelaxed);
  context_token_s_.store(table.step_time.context_token_s, kRelaxed);
  prefill_token_s_.store(table.step_time.prefill_token_s, kRelaxed);
  sequences_.store(table.sequences, kRelaxed);
  context_tokens_.store(table.context_tokens, kRelaxed);
  max_batch_tokens_.store(table.max_batch_tokens, kRelaxed);
  known_.store(table.known, std::memory_order_release);
}

ForecastTable WaitForecast::Load() const {
  ForecastTable table;
  table.known = known();
  if (!table.known) return table;
  table.made = absl::FromUnixMicros(made_us_.load(kRelaxed));
  table.started_before = started_before_.load(kRelaxed);
  Read(starts_, table.starts);
  Read(blocks_, table.blocks);
  Read(arrivals_, table.arrivals_per_second);
  Read(share_, table.share);
  table.step_time = {step_s_.load(kRelaxed), sequence_s_.load(kRelaxed), context_token_s_.load(kRelaxed),
                     prefill_token_s_.load(kRelaxed)};
  table.sequences = sequences_.load(kRelaxed);
  table.context_tokens = context_tokens_.load(kRelaxed);
  table.max_batch_tokens = max_batch_tokens_.load(kRelaxed);
  return table;
}

WaitPrediction WaitForecast::Predict(request::Priority priority, const Demand& demand, absl::Time now,
                                     int64_t more_ahead) const {
  WaitPrediction prediction;
  prediction.known = known();
  if (!prediction.known) return prediction;
  const size_t rank = static_cast<size_t>(priority);
  double more_urgent = 0;
  double arrivals = 0;  // of more urgent ones, a bucket
  for (size_t r = 0; r < rank; ++r) {
    more_urgent += static_cast<double>(waiting_[r].load(kRelaxed));
    arrivals += arrivals_[r].load(kRelaxed) * absl::ToDoubleSeconds(kForecastBucket);
  }
  const double own = static_cast<double>(waiting_[rank].load(kRelaxed) + more_ahead) + 1;
  const double share = share_[rank].load(kRelaxed);
  const absl::Duration age =
      std::clamp(now - absl::FromUnixMicros(made_us_.load(kRelaxed)), absl::ZeroDuration(), kOldestForecast);
  const double first = absl::FDivDuration(age, kForecastBucket);
  const double taken = static_cast<double>(started() - started_before_.load(kRelaxed));
  const double starts_now = At(starts_, first);

  // Buckets after now by which there is room. What is left of the starts, once those ahead and those who will overtake
  // have theirs, or the class's own share of them, whichever is more.
  const auto room_at = [&](double position) {
    const double starts = At(starts_, position);
    const double left = starts - taken - more_urgent - own - arrivals * (position - first);
    const double shared = share * (starts - starts_now) - own;
    const double memory = At(blocks_, position) - static_cast<double>(demand.blocks);
    return std::min(std::max(left, shared), memory);
  };
  double start = -1;
  double before = room_at(first);
  if (before >= 0) start = 0;
  for (double position = first; start < 0 && position < kForecastBuckets;) {
    const double next = std::min<double>(std::floor(position) + 1, kForecastBuckets);
    const double there = room_at(next);
    if (there >= 0) start = position + (next - position) * (-before / (there - before)) - first;
    before = there;
    position = next;
  }

  const StepTime step = {step_s_.load(kRelaxed), sequence_s_.load(kRelaxed), context_token_s_.load(kRelaxed),
                         prefill_token_s_.load(kRelaxed)};
  const double prompt = static_cast<double>(demand.prompt_tokens);
  const int32_t max_batch_tokens = max_batch_tokens_.load(kRelaxed);
  prediction.unloaded = absl::Seconds(PrefillSeconds(step, prompt, 0, 0, max_batch_tokens));
  prediction.start = start < 0 ? absl::InfiniteDuration() : start * kForecastBucket;
  prediction.first_token =
      prediction.start + absl::Seconds(PrefillSeconds(step, prompt, sequences_.load(kRelaxed),
                                                      context_tokens_.load(kRelaxed), max_batch_tokens));
  return prediction;
}

}  // namespace hadal::admission
