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
  class_step_buckets_.store(absl::FDivDuration(table.class_step, kForecastBucket), kRelaxed);
  step_s_.store(table.step_time.step_s, kRelaxed);
  sequence_s_.store(table.step_time.sequence_s, kRelaxed);
  context_token_s_.store(table.step_time.context_token_s, kRelaxed);
  prefill_token_s_.store(table.step_time.prefill_token_s, kRelaxed);
  blocks_per_request_.store(table.blocks_per_request, kRelaxed);
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
  table.class_step = class_step_buckets_.load(kRelaxed) * kForecastBucket;
  table.step_time = {step_s_.load(kRelaxed), sequence_s_.load(kRelaxed), context_token_s_.load(kRelaxed),
                     prefill_token_s_.load(kRelaxed)};
  table.blocks_per_request = blocks_per_request_.load(kRelaxed);
  table.sequences = sequences_.load(kRelaxed);
  table.context_tokens = context_tokens_.load(kRelaxed);
  table.max_batch_tokens = max_batch_tokens_.load(kRelaxed);
  return table;
}

double WaitForecast::Age(absl::Time now) const {
  const absl::Time made = absl::FromUnixMicros(made_us_.load(kRelaxed));
  return absl::FDivDuration(std::clamp(now - made, absl::ZeroDuration(), kOldestForecast), kForecastBucket);
}

int64_t WaitForecast::ExpectedBlocks() const {
  return static_cast<int64_t>(std::ceil(blocks_per_request_.load(kRelaxed)));
}

void WaitForecast::ReadCapacity(request::Priority priority, absl::Time now, CapacityCurve* curve) const {
  const double age = Age(now);
  // Places that were free and have been taken since are free no longer.
  const double starts_now = At(starts_, age);
  const double taken = static_cast<double>(started() - started_before_.load(kRelaxed));
  int64_t waiting = 0;
  double arrivals = 0;
  for (size_t rank = 0; rank < waiting_.size(); ++rank) {
    waiting += waiting_[rank].load(kRelaxed);
    if (rank <= static_cast<size_t>(priority)) arrivals += arrivals_[rank].load(kRelaxed);
  }
  const double free = std::max(0.0, starts_[0].load(kRelaxed) - taken - static_cast<double>(waiting));
  for (int i = 0; i <= kForecastBuckets; ++i) {
    curve->places[i] += static_cast<float>(At(starts_, age + i) - starts_now + free);
    curve->blocks[i] += static_cast<float>(At(blocks_, age + i));
  }
  const double arriving = arrivals * absl::ToDoubleSeconds(kForecastBucket);
  curve->arriving_places = std::max(curve->arriving_places, arriving);  // the same ones, whatever the model
  curve->arriving_blocks = std::max(curve->arriving_blocks, arriving * blocks_per_request_.load(kRelaxed));
}

absl::Duration CapacityCurve::TimeOf(const Demand& demand) const {
  const auto enough = [&](int i) { return places[i] >= 1 && blocks[i] >= static_cast<float>(demand.blocks); };
  for (int i = 0; i <= kForecastBuckets; ++i) {
    if (!enough(i)) continue;
    if (i == 0) return absl::ZeroDuration();
    const auto part = [i](const auto& column, double need) {
      const double before = column[i - 1];
      return before >= need ? 0.0 : (need - before) / (column[i] - before);
    };
    return (i - 1 + std::max(part(places, 1), part(blocks, static_cast<double>(demand.blocks)))) * kForecastBucket;
  }
  return absl::InfiniteDuration();
}

WaitPrediction WaitForecast::Predict(request::Priority priority, const Demand& demand, absl::Time now,
                                     int64_t more_ahead) const {
  WaitPrediction prediction;
  prediction.known = known();
  if (!prediction.known) return prediction;
  const size_t rank = static_cast<size_t>(priority);
  double more_urgent = 0;
  for (size_t r = 0; r < rank; ++r) more_urgent += static_cast<double>(waiting_[r].load(kRelaxed));
  const double own = static_cast<double>(waiting_[rank].load(kRelaxed) + more_ahead) + 1;
  const double first = Age(now);
  const double taken = static_cast<double>(started() - started_before_.load(kRelaxed));
  const double class_step = class_step_buckets_.load(kRelaxed);
  // More urgent arrivals that overtake it in `buckets` from now.
  const auto overtaking = [&](double buckets) {
    double sum = 0;
    for (size_t r = 0; r < rank; ++r) {
      const double young = std::min(buckets, static_cast<double>(rank - r) * class_step);
      sum += arrivals_[r].load(kRelaxed) * absl::ToDoubleSeconds(kForecastBucket) * young;
    }
    return sum;
  };

  // What is left at a time, once those ahead and those who will overtake have their starts; of memory, too.
  const auto room_at = [&](double position) {
    const double left = At(starts_, position) - taken - more_urgent - own - overtaking(position - first);
    const double memory = At(blocks_, position) - static_cast<double>(demand.blocks);
    return std::min(left, memory);
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
