// SPDX-License-Identifier: Apache-2.0
// What the controller foresees: from the engine's load to the forecast that refusals and predictions look up.
#include <algorithm>

#include "server/admission/admission.h"
#include "server/admission/model_state.h"

namespace hadal::admission {
namespace {

constexpr absl::Duration kForecastPeriod = absl::Milliseconds(100);

}  // namespace

void AdmissionController::PublishEngineLoad(int model_index, const EngineLoad& load) {
  ModelState& model = *models_[model_index];
  model.running.store(load.running, std::memory_order_relaxed);
  model.mean_remaining_seconds.store(load.mean_remaining_seconds, std::memory_order_relaxed);
  const absl::Time now = options_.clock->Now();
  if (load.step_seconds <= 0 || now < model.forecast_due) return;
  model.forecast_due = now + kForecastPeriod;

  ForecastTable table;
  table.made = now;
  table.known = true;
  table.started_before = model.forecast.started();
  double rate = 0;
  {
    base::MutexLock lock(&mutex_);
    rate = DrainRateLocked(now);
    for (size_t i = 0; i < arrivals_.size(); ++i) {
      table.arrivals_per_second[i] = static_cast<float>(arrivals_[i].PerSecond(now));
    }
  }
  double block_rate = 0;
  {
    base::MutexLock lock(&model.stats_mutex);
    block_rate = model.released_bytes.PerSecond(now) / static_cast<double>(model.limits.block_bytes);
  }
  const double free_places = std::max(0, load.max_batch_size - load.running);
  const double free_blocks = static_cast<double>(model.limits.pool->available_bytes() / model.limits.block_bytes);
  for (int i = 0; i <= kForecastBuckets; ++i) {
    const double seconds = absl::ToDoubleSeconds(i * kForecastBucket);
    table.starts[i] = static_cast<float>(free_places + rate * seconds);
    table.blocks[i] = static_cast<float>(free_blocks + block_rate * seconds);
  }
  table.step_time.step_s = load.step_seconds;
  table.sequences = static_cast<float>(load.running);
  table.context_tokens = static_cast<float>(load.context_tokens);
  table.max_batch_tokens = load.max_batch_tokens;
  model.forecast.Publish(table);
}

WaitPrediction AdmissionController::PredictWait(request::Priority priority, int64_t prompt_tokens,
                                                int64_t more_ahead) const {
  const absl::Time now = options_.clock->Now();
  WaitPrediction best;
  for (const auto& model : models_) {
    const WaitPrediction here = model->forecast.Predict(priority, {.prompt_tokens = prompt_tokens}, now, more_ahead);
    if (!here.known) return here;
    if (!best.known || here.start < best.start) best = here;
  }
  return best;
}

}  // namespace hadal::admission
