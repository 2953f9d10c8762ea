// SPDX-License-Identifier: Apache-2.0
// What the controller foresees: from the engine's load to the forecast that refusals and predictions look up.
#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "server/admission/admission.h"
#include "server/admission/admission_metrics.h"
#include "server/admission/capacity_replay.h"
#include "server/admission/model_state.h"
#include "server/admission/offered_load.h"
#include "server/request/retry_spread.h"

namespace hadal::admission {
namespace {

constexpr absl::Duration kForecastPeriod = absl::Milliseconds(100);
constexpr int kArrivalKinds = 32;
constexpr double kIdleShare = 0.25;
// Of an answer, while no answers have been seen.
constexpr double kColdOutputTokens = 256;

// Adds what runs to the replay, and to what the table says of it. A replay that takes the mean for every length would
// end all of a kind together. So each sequence gets a length of its own, and together they are spread as the answers
// that were seen: `lengths`, of those that think at 1. Returns the most tokens that one of them wants.
double AddRunning(const std::vector<RunningSequence>& running, const std::array<LengthCurve, 2>& lengths,
                  ReplayState* state, ForecastTable* table) {
  double most_wanted = 1;
  for (size_t i = 0; i < running.size(); ++i) {
    const RunningSequence& sequence = running[i];
    const double most = std::max(1, sequence.max_tokens - sequence.produced);
    const double left = lengths[sequence.thinking].RemainingQuantile(sequence.produced, request::EvenlySpread(i));
    ReplaySequence& replayed = state->running.emplace_back();
    // Nothing seen: half of what may still come.
    replayed.output_tokens = left < 0 ? std::max(1.0, most / 2) : std::min(left, most);
    if (sequence.fixed_length) replayed.output_tokens = most;
    replayed.prefill_tokens = sequence.prefill_tokens;
    replayed.context_tokens = sequence.context_tokens;
    replayed.blocks = sequence.blocks;
    table->context_tokens += static_cast<float>(sequence.context_tokens);
    table->prefilling_tokens[static_cast<size_t>(sequence.priority)] += static_cast<float>(sequence.prefill_tokens);
    most_wanted = std::max<double>(most_wanted, sequence.max_tokens);
  }
  table->sequences = static_cast<float>(running.size());
  return most_wanted;
}

// Requests like the last ones, whose answers are spread in the same way and are no longer than somebody wants.
std::vector<ReplaySequence> Arriving(const MeanRequest& mean, const LengthCurve& lengths, double most_wanted) {
  std::vector<ReplaySequence> arriving;
  for (int i = 0; i < kArrivalKinds; ++i) {
    const double output = lengths.RemainingQuantile(0, request::EvenlySpread(i));
    arriving.push_back({.output_tokens = std::min(most_wanted, output < 0 ? kColdOutputTokens : output),
                        .prefill_tokens = mean.prompt_tokens * mean.computed_share(),
                        .blocks = mean.blocks});
  }
  return arriving;
}

// Adds what waits, once it is known what arrives: it is of the same kinds, with prompts of its own.
void AddWaiting(const WaitForecast& forecast, const MeanRequest& mean, ReplayState* state) {
  int64_t requests = 0;
  int64_t tokens = 0;
  for (size_t i = 0; i < request::kNumPriorities; ++i) {
    requests += forecast.waiting_requests(static_cast<request::Priority>(i));
    tokens += forecast.waiting_tokens(static_cast<request::Priority>(i));
  }
  const int64_t replayed = std::min<int64_t>(requests, kMaxReplayed);
  for (int64_t i = 0; i < replayed; ++i) {
    ReplaySequence& waiting = state->waiting.emplace_back(state->arriving[i % kArrivalKinds]);
    waiting.prefill_tokens = mean.computed_share() * static_cast<double>(tokens) / static_cast<double>(requests);
  }
}

// What arrives as a steady load.
SteadyWork WorkOf(const EngineLoad::Step& step, const MeanRequest& mean, double pool_blocks,
                  const std::vector<ReplaySequence>& arriving) {
  SteadyWork work = {.step_time = step.time,
                     .max_batch_size = static_cast<double>(step.max_batch_size),
                     .max_batch_tokens = static_cast<double>(step.max_batch_tokens),
                     .pool_blocks = pool_blocks,
                     .prompt_tokens = mean.prompt_tokens,
                     .computed_share = mean.computed_share(),
                     .output_tokens = 0,
                     .blocks_per_request = mean.blocks};
  for (const ReplaySequence& one : arriving) work.output_tokens += one.output_tokens / kArrivalKinds;
  return work;
}

}  // namespace

EngineLoad& AdmissionController::engine_load(int model_index) { return models_[model_index]->load; }

void AdmissionController::EngineStepped(int model_index) {
  ModelState& model = *models_[model_index];
  const absl::Time now = options_.clock->Now();
  // What a step changes at once: an engine that has just come to rest must not look busy until the next one.
  const bool idle = model.load.sequences() == 0 && model.queued.load(std::memory_order_relaxed) == 0;
  if (now < model.forecast_due && !(idle && !model.forecast_idle)) return;
  model.forecast_due = now + kForecastPeriod;
  model.forecast_idle = idle;
  if (forecast_wake_ != nullptr) {
    forecast_wake_->Notify(request::WakeSignal::kControl);
  } else {
    UpdateForecast(now);
  }
}

void AdmissionController::UpdateForecast(absl::Time now) {
  base::MutexLock lock(&forecast_mutex_);
  const PromiseLedger::Amount held = planner_.Held(now);
  for (const auto& model : models_) {
    if (!model->load.step().time.known()) continue;
    const ForecastTable table = Foresee(*model, now);
    model->forecast.Publish(table);
    const double left_places = table.starts[0] - held.places;
    const double left_blocks = table.blocks[0] - held.blocks;
    int64_t waiting = 0;
    double prefilling = 0;
    for (size_t i = 0; i < request::kNumPriorities; ++i) {
      waiting += model->forecast.waiting_requests(static_cast<request::Priority>(i));
      prefilling += table.prefilling_tokens[i];
      const bool starts = waiting == 0 && prefilling < table.max_batch_tokens && left_places >= 1 &&
                          left_blocks >= table.blocks_per_request;
      if (starts) room_.start[i] = now;
    }
    // Room that is there until the next request comes is not idleness yet: a quarter of all, two times running. Nor is
    // what is held for clients that return, or a place in a batch whose prompts fill the next steps.
    const double free_places = std::max(1.0, kIdleShare * model->load.step().max_batch_size);
    const double free_blocks = std::max<double>(table.blocks_per_request, kIdleShare * model->pool_blocks());
    const bool idle = waiting == 0 && prefilling <= table.max_batch_tokens && left_places >= free_places &&
                      left_blocks >= free_blocks;
    if (idle && model->was_idle) room_.idle = now;
    model->was_idle = idle;
  }
  for (const Ghosts::Verdict& verdict : planner_.Judge(now, room_)) metrics_->CountGhost(verdict);
}

ForecastTable AdmissionController::Foresee(ModelState& model, absl::Time now) {
  const EngineLoad::Step step = model.load.step();
  ForecastTable table;
  table.made = now;
  table.known = true;
  table.started_before = model.forecast.started();
  table.started_tokens_before = model.forecast.started_tokens();
  table.class_step = options_.order.class_step;
  table.step_time = step.time;
  table.max_batch_tokens = step.max_batch_tokens;
  {
    base::MutexLock lock(&mutex_);
    for (size_t i = 0; i < arrivals_.size(); ++i) {
      table.arrivals_per_second[i] = static_cast<float>(arrivals_[i].PerSecond(now));
    }
  }
  const std::array<LengthCurve, 2> lengths = {model.lengths.OfMode(false).Curve(), model.lengths.OfMode(true).Curve()};
  const LengthCurve all_lengths = model.lengths.all().Curve();
  MeanRequest mean;
  {
    base::MutexLock lock(&model.stats_mutex);
    mean = model.mean_request;
  }
  table.blocks_per_request = static_cast<float>(mean.blocks);
  table.prompt_tokens_per_request = static_cast<float>(mean.prompt_tokens);
  table.computed_share = static_cast<float>(mean.computed_share());

  ReplayState state;
  state.max_batch_size = step.max_batch_size;
  state.max_batch_tokens = step.max_batch_tokens;
  state.step_time = step.time;
  // Below 0 while the budget is smaller than what is leased: what ends first frees nothing.
  state.free_blocks = static_cast<double>(model.limits.pool->headroom_bytes() / model.limits.block_bytes);
  std::vector<RunningSequence> running;
  model.load.Read(&running);
  model.foresight.Renew(model.lengths, model.deviation.deviations(), running);
  const double wanted = AddRunning(running, lengths, &state, &table);
  // No answer becomes longer than its caller wants; what others want now, those that come may, too.
  state.arriving = Arriving(mean, all_lengths, running.empty() ? model.limits.max_model_len : wanted);
  AddWaiting(model.forecast, mean, &state);
  if (all_lengths.known()) {
    const SteadyWork work = WorkOf(step, mean, static_cast<double>(model.pool_blocks()), state.arriving);
    model.sustainable_per_second.store(SustainableRate(work), std::memory_order_relaxed);
    model.tokens_per_answer.store(work.output_tokens, std::memory_order_relaxed);
    model.tokens_per_prompt.store(work.prompt_tokens, std::memory_order_relaxed);
  }
  const ReplayResult replay = ReplayCapacity(state);
  table.starts = replay.starts;
  table.blocks = replay.blocks;
  table.prompt_tokens = replay.prompt_tokens;
  return table;
}

// Who is refused has no answer whose length could be counted, so every arrival is taken to want one like the last ones.
double AdmissionController::OfferedLoad(absl::Time now) const {
  double requests = 0;
  double answers = 0;
  double tokens = 0;
  for (const auto& model : models_) {
    const double rate = model->sustainable_per_second.load(std::memory_order_relaxed);
    const double answer = model->tokens_per_answer.load(std::memory_order_relaxed);
    requests += rate;
    answers += rate * answer;
    tokens += rate * (answer + model->tokens_per_prompt.load(std::memory_order_relaxed));
  }
  if (tokens <= 0) return 0;
  double arrivals = 0;
  for (const RateEstimator& of_class : arrivals_) arrivals += of_class.PerSecond(now);
  return (offered_prompts_.PerSecond(now) + arrivals * answers / requests) / tokens;
}

RetryPlan AdmissionController::PlanReturn(const Subject& subject, int model_index, int64_t blocks) {
  const absl::Time now = options_.clock->Now();
  CapacityCurve curve;
  bool known = false;
  Demand demand{.prompt_tokens = subject.prompt_tokens, .blocks = blocks};
  for (size_t i = 0; i < models_.size(); ++i) {
    const WaitForecast& forecast = models_[i]->forecast;
    if ((model_index >= 0 && static_cast<int>(i) != model_index) || !forecast.known()) continue;
    forecast.ReadCapacity(subject.priority, now, options_.wait_limits[static_cast<size_t>(subject.priority)], &curve);
    known = true;
    // Once it has a slot, it needs blocks like any other.
    if (model_index < 0 && models_.size() == 1) demand.blocks = models_[i]->ExpectedLease(subject.prompt_tokens);
  }
  return planner_.Refuse(subject.retry, subject.priority, demand, known ? &curve : nullptr, now, subject.wait_limit);
}

WaitPrediction AdmissionController::PredictWait(request::Priority priority, int64_t prompt_tokens,
                                                const WaitForecast::Line& line) const {
  const absl::Time now = options_.clock->Now();
  WaitPrediction best;
  for (const auto& model : models_) {
    const WaitPrediction here = model->forecast.Predict(priority, {.prompt_tokens = prompt_tokens}, now, line);
    if (!here.known) return here;
    if (!best.known || here.start < best.start) best = here;
  }
  return best;
}

}  // namespace hadal::admission
