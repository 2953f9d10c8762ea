// SPDX-License-Identifier: Apache-2.0
// Rounds of models that a step passes through from host to host: steps of different sequences follow one another, so
// that no host waits until the last one has sampled.
#include <optional>
#include <utility>

#include "server/engine/step_loop.h"

namespace hadal::engine {

StepLoop::Round StepLoop::RunOverlapped(absl::Time now) {
  BatchPlan next;
  if (!device_fault_ && overlapping_.size() < overlapped_steps_) next = scheduler_.Plan(now, /*start_new=*/!draining_);
  Tell();  // what was retired or started, before the wait for the device
  Round round;
  round.progressed = StepsInFlight() || !next.empty() || next.preempted;
  const bool launches = !next.empty();
  if (launches) {
    if (std::optional<InFlight> step = LaunchStep(std::move(next)); step.has_value()) {
      overlapping_.push_back(*std::move(step));
      ++launched_;
    }
  }
  // While there is room for another step, the next round plans it from what is in none; it waits when there is nothing.
  if (!overlapping_.empty() && (!launches || overlapping_.size() == overlapped_steps_)) FinishOldest();
  Tell();
  scheduler_.DeleteClosed(launched_, committed_);
  PublishState();
  round.wake_at = scheduler_.NextTimer();
  return round;
}

void StepLoop::FinishOldest() {
  const InFlight step = std::move(overlapping_.front());
  overlapping_.pop_front();
  const absl::Time before = options_.clock->Now();
  const absl::StatusOr<models::StepOutput> output = WaitFor(step);
  const absl::Time now = options_.clock->Now();
  ++committed_;
  if (!output.ok()) {
    DropSteps();
    Fault(output.status());
    return;
  }
  BatchPlan none;  // of what is in flight, Commit passes over the rows that are not wanted any more
  scheduler_.Commit(step.plan, *output, now, none);
  admission_->RecordLeaseFit(model_index_,
                             {step.plan.tokens, step.plan.recomputed_tokens, scheduler_.counts().leased_blocks});
  published_->step_in_flight.store(!overlapping_.empty(), std::memory_order_release);
  RecordStep(step, before, now);
  gap_started_ = now;
}

}  // namespace hadal::engine
