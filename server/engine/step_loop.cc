// SPDX-License-Identifier: Apache-2.0
#include "server/engine/step_loop.h"

#include <algorithm>
#include <atomic>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/strings.h"
#include "server/engine/engine_observer.h"
#include "server/engine/token_masks.h"
#include "server/request/refusal.h"

namespace hadal::engine {
namespace {

using request::Reason;

template <typename T>
void Set(std::atomic<T>& atomic, T value) {
  atomic.store(value, std::memory_order_relaxed);
}

// Of the last full step in the average of those before it.
constexpr double kFullStepShare = 0.05;

bool FeedsSteps(AsyncScheduling wanted, const models::Model& model) {
  if (model.overlapped_steps() > 1 || model.max_steps_in_flight() < 2 || wanted == AsyncScheduling::kOff) return false;
  return wanted == AsyncScheduling::kOn || model.info().device_facts.multiprocessors > 0;
}

}  // namespace

StepLoop::StepLoop(const EngineOptions& options, models::Model* model, admission::AdmissionController* admission,
                   int model_index, std::shared_ptr<request::WakeSignal> wake,
                   std::shared_ptr<PublishedState> published)
    : options_(options),
      model_(model),
      admission_(admission),
      model_index_(model_index),
      published_(std::move(published)),
      scheduler_(options_, *model, admission, model_index),
      overlapped_steps_(static_cast<size_t>(model->overlapped_steps())),
      feeds_(FeedsSteps(options.async_scheduling, *model)),
      full_step_tokens_(options.max_batch_tokens) {
  admission_->SetWakeSignal(model_index_, std::move(wake));
  published_->total_blocks.store(options_.num_blocks);
  published_->total_window_blocks.store(options_.num_window_blocks);
  PublishState();
  if (options_.observer != nullptr) options_.observer->OnCreated(options_, published_);
}

StepLoop::~StepLoop() { Abort(); }

StepLoop::Round StepLoop::RunOnce(uint32_t signals) {
  const absl::Time now = options_.clock->Now();
  if (!StepsInFlight()) gap_started_ = now;
  scheduler_.Retire(now, (signals & request::WakeSignal::kConsumer) != 0);
  if (device_fault_) scheduler_.EndQueued([this] { return admission_->EndedBy(Reason::kDeviceFault); });
  if (draining_) scheduler_.EndQueued([this] { return admission_->EndedBy(Reason::kDraining); });
  if (overlapped_steps_ > 1) return RunOverlapped(now);
  BatchPlan next;
  if (!device_fault_) next = scheduler_.Plan(now, /*start_new=*/!draining_);
  Tell();  // what was retired or started, before the wait for the device
  Round round;
  // What a preemption has freed is given out by the next plan.
  round.progressed = in_flight_.has_value() || !next.empty() || next.preempted;
  std::optional<InFlight> fed;
  if (feeds_ && in_flight_.has_value() && FeedInput(in_flight_->plan, next)) {
    fed = LaunchStep(std::move(next));
    next = BatchPlan();
  }
  const bool was_fed = fed.has_value();
  if (in_flight_.has_value()) FinishStep(next, fed);
  if (fed.has_value()) {
    in_flight_ = std::move(fed);
  } else if (!next.empty() && !device_fault_) {
    in_flight_ = LaunchStep(std::move(next));
  }
  Tell();
  scheduler_.DeleteClosed(was_fed);
  PublishState();
  round.wake_at = scheduler_.NextTimer();
  return round;
}

std::optional<StepLoop::InFlight> StepLoop::LaunchStep(BatchPlan plan) {
  const MaskFacts masks = FillTokenMasks(*options_.clock, model_->info().vocab_size, plan);
  if (masks.rows > 0 && options_.observer != nullptr) options_.observer->OnMasks(masks);
  InFlight step;
  step.launched = options_.clock->Now();
  step.gap = overlapping_.empty() ? step.launched - gap_started_ : absl::ZeroDuration();
  // Before the call: a model that hangs in Launch must be seen, too.
  published_->step_in_flight.store(true, std::memory_order_release);
  if (published_->runnable_since_us.load(std::memory_order_relaxed) == INT64_MIN) {
    published_->runnable_since_us.store(absl::ToUnixMicros(step.launched), std::memory_order_release);
  }
  absl::StatusOr<models::StepHandle> handle = model_->Launch(std::move(plan.input));
  step.plan = std::move(plan);
  for (const PlanEntry& entry : step.plan.entries) step.context_tokens += entry.start;
  if (handle.ok()) {
    step.handle = *handle;
    step.launch_returned = options_.clock->Now();
    return step;
  }
  published_->step_in_flight.store(StepsInFlight(), std::memory_order_release);
  if (handle.status().code() == absl::StatusCode::kInvalidArgument) {
    // Nothing ran, and the device is well: only these requests are lost.
    BatchPlan none;
    scheduler_.FailStep(step.plan, request::MakeError(Reason::kInternal, base::StdView(handle.status().message())),
                        none);
    return std::nullopt;
  }
  Fault(handle.status());
  return std::nullopt;
}

void StepLoop::FinishStep(BatchPlan& next, std::optional<InFlight>& fed) {
  InFlight& step = *in_flight_;
  const absl::Time before = options_.clock->Now();
  absl::StatusOr<models::StepOutput> output = WaitFor(step);
  const absl::Time now = options_.clock->Now();
  if (!output.ok()) {
    in_flight_ = std::exchange(fed, std::nullopt);
    next = BatchPlan();
    DropSteps();
    Fault(output.status());
    return;
  }
  scheduler_.Commit(step.plan, *output, now, fed.has_value() ? fed->plan : next);
  admission_->RecordLeaseFit(model_index_,
                             {step.plan.tokens, step.plan.recomputed_tokens, scheduler_.counts().leased_blocks});
  if (fed.has_value()) {
    // It began when this one had ended, and the device has not waited for the engine.
    fed->launched = fed->launch_returned = now;
    fed->gap = absl::ZeroDuration();
    const auto rows = std::count_if(fed->plan.entries.begin(), fed->plan.entries.end(),
                                    [](const PlanEntry& entry) { return entry.dropped; });
    if (rows > 0 && options_.observer != nullptr) options_.observer->OnDiscarded(static_cast<int32_t>(rows));
  } else {
    published_->step_in_flight.store(false, std::memory_order_release);
    if (!draining_) scheduler_.MakeWay(now, next);
    scheduler_.Patch(next);
  }
  RecordStep(step, before, now);
  in_flight_.reset();
  gap_started_ = now;
}

absl::StatusOr<models::StepOutput> StepLoop::WaitFor(const InFlight& step) {
  absl::StatusOr<models::StepOutput> output = model_->Wait(step.handle);
  if (!output.ok() || static_cast<int32_t>(output->samples.size()) == step.plan.sample_rows) return output;
  return absl::InternalError(
      absl::StrCat("step gave ", output->samples.size(), " samples, expected ", step.plan.sample_rows));
}

void StepLoop::RecordStep(const InFlight& step, absl::Time before, absl::Time now) {
  published_->steps.fetch_add(1, std::memory_order_relaxed);
  published_->last_step_tokens.store(step.plan.tokens, std::memory_order_relaxed);
  published_->last_step_duration_us.store(absl::ToInt64Microseconds(now - step.launched), std::memory_order_relaxed);
  published_->last_step_us.store(absl::ToUnixMicros(now), std::memory_order_release);
  const double seconds = absl::ToDoubleSeconds(now - step.launched + step.gap);
  step_time_.Record({.sequences = static_cast<double>(step.plan.entries.size()),
                     .context_tokens = static_cast<double>(step.context_tokens),
                     .prefill_tokens = static_cast<double>(step.plan.prefill_tokens),
                     .seconds = seconds});
  scheduler_.RecordStep(step.plan, seconds, step_time_.Get());
  if (step.plan.full) full_step_tokens_ += kFullStepShare * (step.plan.tokens - full_step_tokens_);
  if (options_.observer != nullptr) {
    StepFacts facts;
    facts.duration = now - step.launched;
    facts.gap = step.gap;
    facts.overlapped = before - step.launch_returned;
    facts.tokens = step.plan.tokens;
    facts.sequences = static_cast<int32_t>(step.plan.entries.size());
    facts.prefill_tokens = step.plan.prefill_tokens;
    options_.observer->OnStep(facts);
  }
}

void StepLoop::DropSteps() {
  if (in_flight_.has_value()) (void)model_->Wait(in_flight_->handle);
  in_flight_.reset();
  for (const InFlight& step : overlapping_) (void)model_->Wait(step.handle);
  committed_ += overlapping_.size();
  overlapping_.clear();
  published_->step_in_flight.store(false, std::memory_order_release);
}

void StepLoop::Fault(const absl::Status& status) {
  if (device_fault_) return;
  device_fault_ = true;
  published_->device_fault.store(true, std::memory_order_release);
  admission_->SetDeviceFault(base::StdView(status.message()));
  if (options_.log) {
    admission::LogFields fields;
    fields.reason = Reason::kDeviceFault;
    options_.log(admission::LogSeverity::kError, options_.name,
                 absl::StrCat("DEVICE_FAULT: the model's step failed: ", status.message()), fields);
  }
  const auto fault = [this] { return admission_->EndedBy(Reason::kDeviceFault); };
  scheduler_.EndAll(fault);
  scheduler_.EndQueued(fault);
  if (options_.on_fault) options_.on_fault();
}

void StepLoop::EndRunning() {
  scheduler_.EndAllInsufficient();
  Tell();
}

void StepLoop::Abort() {
  DropSteps();
  const auto draining = [this] { return admission_->EndedBy(Reason::kDraining); };
  scheduler_.EndAll(draining);
  scheduler_.EndQueued(draining);
  Tell();
  scheduler_.DeleteClosed(/*fed=*/false);
  PublishState();
}

void StepLoop::Tell() {
  PublishLevels();
  // As with tickets and leases: who sees its request end and sends the next one finds the place free.
  if (scheduler_.closing()) scheduler_.PublishSequences(admission_->engine_load(model_index_));
  scheduler_.Publish();
}

void StepLoop::PublishLevels() {
  const Scheduler::Counts counts = scheduler_.counts();
  PublishedState& state = *published_;
  Set(state.running, counts.requests);
  Set(state.running_sequences, counts.running);
  Set(state.preempted_sequences, counts.waiting);
  Set(state.paused_requests, counts.paused);
  Set(state.paused_sequences, counts.running - counts.active);
  Set(state.free_blocks, counts.free_blocks);
  Set(state.leased_blocks, counts.leased_blocks);
  Set(state.cached_blocks, counts.cached_blocks);
  Set(state.free_window_blocks, counts.free_window_blocks);
  Set(state.leased_window_blocks, counts.leased_window_blocks);
  Set(state.cached_window_blocks, counts.cached_window_blocks);
  Set(state.draining, draining_);
}

void StepLoop::PublishState() {
  PublishLevels();
  PublishedState& state = *published_;
  if (!device_fault_ && (StepsInFlight() || scheduler_.Runnable())) {
    if (state.runnable_since_us.load(std::memory_order_relaxed) == INT64_MIN) {
      Set(state.runnable_since_us, absl::ToUnixMicros(options_.clock->Now()));
    }
  } else {
    Set(state.runnable_since_us, INT64_MIN);
  }
  admission::EngineLoad& load = admission_->engine_load(model_index_);
  // Full steps are shorter while more urgent requests come, and at once where decoding leaves less time.
  const auto tokens = std::min(static_cast<int32_t>(full_step_tokens_), scheduler_.token_limit());
  // Admission foresees steps of all that runs. Where steps overlap, each of them has a part of it, and they share the
  // time of one.
  const auto parts = static_cast<int32_t>(overlapped_steps_);
  admission::StepTime time = step_time_.Get();
  time.sequence_s /= parts;
  time.context_token_s /= parts;
  time.prefill_token_s /= parts;
  load.SetStep({options_.max_batch_size, parts * tokens, time});
  scheduler_.PublishSequences(load);
  admission_->EngineStepped(model_index_);
}

}  // namespace hadal::engine
