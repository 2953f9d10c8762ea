// SPDX-License-Identifier: Apache-2.0
#include "server/admission/wait_forecast.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "server/admission/priority_queue.h"

namespace hadal::admission {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

// Arrivals of more urgent classes come at random. A prediction that counted the mean would be too short for every other
// request, so it counts so many standard deviations more.
constexpr double kOvertakingDeviations = 2;
// A decaying average is as uncertain as one over 2 half-lives / ln 2.
const double kRateWindowBuckets = 2 * absl::FDivDuration(kArrivalHalfLife, kForecastBucket) / std::numbers::ln2;
// Mean square of prompt lengths over the square of their mean, as chats and code have it.
constexpr double kPromptSpread = 2;

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

// One of the two things that requests take in turn, in its own unit: places in the batch, and computed prompt tokens.
struct Turns {
  double before = 0;       // wanted by those that go first, or taken by others since the forecast was made
  double after = 0;        // wanted by less urgent ones, which may pass by their age
  double own = 0;          // wanted by the request and those of its class in front of it
  double per_arrival = 0;  // wanted by each request that has yet to arrive
  double spread = 0;       // mean square of what an arrival wants over the square of its mean
  bool whole = false;      // handed out in whole units

  // Of what `supply` gives until `at`: without what those before the class take, `arrivals` of them in each bucket from
  // `first` on, and without the share of those that pass it by their age.
  template <typename Column>
  double LeftForClass(const Column& supply, double first, double at, double arrivals, double share_after) const {
    const double expected = arrivals * (at - first);
    const double variance = spread * expected * (1 + (at - first) / kRateWindowBuckets);
    const double urgent = (expected + kOvertakingDeviations * std::sqrt(variance)) * per_arrival;
    const double passing = share_after * (At(supply, at) - At(supply, first));
    return At(supply, at) - before - urgent - std::min(after, whole ? std::floor(passing) : passing);
  }
};

// The first position from `from` on where `left_at` is not negative; infinite: none within the horizon.
template <typename LeftAt>
double BucketsUntil(double from, const LeftAt& left_at) {
  double left = from <= kForecastBuckets ? left_at(from) : -1;
  if (left >= 0) return from;
  for (double position = from; position < kForecastBuckets;) {
    const double next = std::min<double>(std::floor(position) + 1, kForecastBuckets);
    const double there = left_at(next);
    if (there >= 0) return position + (next - position) * (-left / (there - left));
    left = there;
    position = next;
  }
  return std::numeric_limits<double>::infinity();
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
  Store(table.prompt_tokens, prompt_tokens_);
  Store(table.prefilling_tokens, prefilling_tokens_);
  Store(table.started_tokens_before, started_tokens_before_);
  computed_share_.store(table.computed_share, kRelaxed);
  Store(table.arrivals_per_second, arrivals_);
  class_step_buckets_.store(absl::FDivDuration(table.class_step, kForecastBucket), kRelaxed);
  step_s_.store(table.step_time.step_s, kRelaxed);
  sequence_s_.store(table.step_time.sequence_s, kRelaxed);
  context_token_s_.store(table.step_time.context_token_s, kRelaxed);
  prefill_token_s_.store(table.step_time.prefill_token_s, kRelaxed);
  blocks_per_request_.store(table.blocks_per_request, kRelaxed);
  prompt_tokens_per_request_.store(table.prompt_tokens_per_request, kRelaxed);
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
  Read(prompt_tokens_, table.prompt_tokens);
  Read(prefilling_tokens_, table.prefilling_tokens);
  Read(started_tokens_before_, table.started_tokens_before);
  table.computed_share = computed_share_.load(kRelaxed);
  Read(arrivals_, table.arrivals_per_second);
  table.class_step = class_step_buckets_.load(kRelaxed) * kForecastBucket;
  table.step_time = {step_s_.load(kRelaxed), sequence_s_.load(kRelaxed), context_token_s_.load(kRelaxed),
                     prefill_token_s_.load(kRelaxed)};
  table.blocks_per_request = blocks_per_request_.load(kRelaxed);
  table.prompt_tokens_per_request = prompt_tokens_per_request_.load(kRelaxed);
  table.sequences = sequences_.load(kRelaxed);
  table.context_tokens = context_tokens_.load(kRelaxed);
  table.max_batch_tokens = max_batch_tokens_.load(kRelaxed);
  return table;
}

PerClass<int64_t> WaitForecast::started_tokens() const {
  PerClass<int64_t> tokens;
  Read(started_tokens_, tokens);
  return tokens;
}

double WaitForecast::PromptTokensOf(size_t rank, double waiting_share) const {
  const auto started = started_tokens_[rank].load(kRelaxed) - started_tokens_before_[rank].load(kRelaxed);
  const double later =
      static_cast<double>(started) + waiting_share * static_cast<double>(waiting_tokens_[rank].load(kRelaxed));
  return prefilling_tokens_[rank].load(kRelaxed) + later * computed_share_.load(kRelaxed);
}

double WaitForecast::Age(absl::Time now) const {
  const absl::Time made = absl::FromUnixMicros(made_us_.load(kRelaxed));
  return absl::FDivDuration(std::clamp(now - made, absl::ZeroDuration(), kOldestForecast), kForecastBucket);
}

void WaitForecast::ReadCapacity(request::Priority priority, absl::Time now, absl::Duration wait_limit,
                                CapacityCurve* curve) const {
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
  // By a time there is room for as many prompts as are computed before who comes then has waited too long.
  const double limit = absl::FDivDuration(wait_limit, kForecastBucket);
  double prompts_ahead = 0;
  for (size_t rank = 0; rank <= static_cast<size_t>(priority); ++rank) prompts_ahead += PromptTokensOf(rank, 1);
  const double prompt_of_each =
      std::max(1.0F, prompt_tokens_per_request_.load(kRelaxed) * computed_share_.load(kRelaxed));
  const double prompts_a_bucket = prompt_tokens_[kForecastBuckets].load(kRelaxed) / kForecastBuckets;
  const auto room_for_prompts = [&](double position) {
    const double beyond = std::max(0.0, position - kForecastBuckets) * prompts_a_bucket;
    return std::max(0.0, At(prompt_tokens_, position) + beyond - prompts_ahead) / prompt_of_each;
  };
  for (int i = 0; i <= kForecastBuckets; ++i) {
    double places = At(starts_, age + i) - starts_now + free;
    if (wait_limit < absl::InfiniteDuration()) places = std::min(places, room_for_prompts(age + i + limit));
    curve->places[i] += static_cast<float>(places);
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

double WaitForecast::BucketsToStart(size_t rank, size_t before, const Demand& demand, double first,
                                    const Line& line) const {
  const double class_step = class_step_buckets_.load(kRelaxed);
  const bool aged = before < rank;
  const double age = aged ? static_cast<double>(rank - before) * class_step : 0;
  if (std::isinf(age)) return age;

  Turns places = {.per_arrival = 1, .spread = 1, .whole = true};
  places.before = static_cast<double>(started() - started_before_.load(kRelaxed));
  places.own = line.class_share * static_cast<double>(waiting_[rank].load(kRelaxed)) + 1;
  Turns prompts = {.spread = kPromptSpread};
  prompts.per_arrival = prompt_tokens_per_request_.load(kRelaxed) * computed_share_.load(kRelaxed);
  prompts.own = PromptTokensOf(rank, line.class_share);
  double arrivals = 0;  // a bucket
  for (size_t r = 0; r < before; ++r) {
    places.before += static_cast<double>(waiting_[r].load(kRelaxed));
    prompts.before += PromptTokensOf(r, 1);
    arrivals += arrivals_[r].load(kRelaxed) * absl::ToDoubleSeconds(kForecastBucket);
  }
  for (size_t r = rank + 1; r < waiting_.size() && !std::isinf(class_step); ++r) {
    places.after += static_cast<double>(waiting_[r].load(kRelaxed));
    prompts.after += PromptTokensOf(r, 1);
  }

  const double share = aged ? AgedShare(static_cast<request::Priority>(before)) : 1;
  const double share_after = AgedShare(static_cast<request::Priority>(rank));
  const double overtakers = line.overtakers_per_second * absl::ToDoubleSeconds(kForecastBucket);  // a bucket
  // What is left for the request itself.
  const auto left = [&](const auto& supply, const Turns& turns, double at) {
    const auto for_class = [&](double time) { return turns.LeftForClass(supply, first, time, arrivals, share_after); };
    // Of room by its age it has a share, from when it is old enough.
    const double room = aged ? share * (for_class(at) - std::max(0.0, for_class(first + age))) : for_class(at);
    return room - turns.own - (line.others + overtakers * (at - first)) * turns.per_arrival;
  };
  const double from = first + age;
  return std::max(
             {BucketsUntil(from, [&](double at) { return left(starts_, places, at); }),
              BucketsUntil(from, [&](double at) { return left(prompt_tokens_, prompts, at); }),
              BucketsUntil(first, [&](double at) { return At(blocks_, at) - static_cast<double>(demand.blocks); })}) -
         first;
}

WaitPrediction WaitForecast::Predict(request::Priority priority, const Demand& demand, absl::Time now,
                                     const Line& line) const {
  WaitPrediction prediction;
  prediction.known = known();
  if (!prediction.known) return prediction;
  const size_t rank = static_cast<size_t>(priority);
  const double first = Age(now);
  // It starts by the order of classes, or by its age before classes that are more urgent, whatever comes first.
  double start = std::numeric_limits<double>::infinity();
  for (size_t before = 0; before <= rank; ++before)
    start = std::min(start, BucketsToStart(rank, before, demand, first, line));

  const StepTime step = {step_s_.load(kRelaxed), sequence_s_.load(kRelaxed), context_token_s_.load(kRelaxed),
                         prefill_token_s_.load(kRelaxed)};
  const double prompt = static_cast<double>(demand.prompt_tokens);
  const int32_t max_batch_tokens = max_batch_tokens_.load(kRelaxed);
  prediction.unloaded = absl::Seconds(PrefillSeconds(step, prompt, 0, 0, max_batch_tokens));
  prediction.start = std::isinf(start) ? absl::InfiniteDuration() : start * kForecastBucket;
  prediction.first_token =
      prediction.start + absl::Seconds(PrefillSeconds(step, prompt, sequences_.load(kRelaxed),
                                                      context_tokens_.load(kRelaxed), max_batch_tokens));
  return prediction;
}

}  // namespace hadal::admission
