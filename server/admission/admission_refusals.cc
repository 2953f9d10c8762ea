// SPDX-License-Identifier: Apache-2.0
// What a refused request is told, and what is logged and counted of it.
#include <algorithm>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "server/admission/admission.h"
#include "server/admission/admission_metrics.h"
#include "server/base/strings.h"
#include "server/request/retry_spread.h"

namespace hadal::admission {
namespace {

using request::Reason;

// Of a process whose device failed, when it was not measured how long a start takes.
constexpr absl::Duration kRestartTime = absl::Seconds(10);
constexpr std::string_view kDrainingText = "the server is shutting down";
constexpr std::string_view kFaultText = "the device has failed";

}  // namespace

absl::Status AdmissionController::RefuseEvicted(const Subject& subject) {
  return Refuse(
      Reason::kPreemptedInQueue, subject, "the queue slot went to a class or tenant that was owed it",
      absl::StrCat("PREEMPTED_IN_QUEUE: Request ", base::View(subject.request_id), " of class ",
                   base::View(request::kPriorityNames[static_cast<size_t>(subject.priority)]), " gave its slot away"),
      PlanReturn(subject, -1, 0));
}

absl::Status AdmissionController::RefuseByState(State state, const Subject& subject) {
  const absl::Time now = options_.clock->Now();
  if (state == State::kLoading) {
    absl::Duration remaining;
    {
      base::MutexLock lock(&mutex_);
      remaining = std::max(loaded_at_ - now, absl::ZeroDuration());
    }
    return Refuse(Reason::kModelLoading, subject, "the model is loading",
                  "MODEL_LOADING: refused while the model loads", planner_.After(remaining));
  }
  if (state == State::kDraining) {
    return Refuse(Reason::kDraining, subject, kDrainingText, "DRAINING: refused while shutting down",
                  PlanAfter(Reason::kDraining));
  }
  return Refuse(Reason::kDeviceFault, subject, kFaultText, "DEVICE_FAULT: refused after a device fault",
                PlanAfter(Reason::kDeviceFault));
}

absl::Status AdmissionController::EndedBy(Reason reason) {
  const RetryPlan plan = PlanAfter(reason);
  return request::MakeBusy(reason, reason == Reason::kDraining ? kDrainingText : kFaultText,
                           request::RetryHint{.after = plan.hint, .estimated_wait = plan.estimate});
}

RetryPlan AdmissionController::PlanAfter(Reason reason) {
  if (reason == Reason::kDraining) {
    // A whole queue goes to the other replicas at once: it comes there evenly over a second.
    const double turn = request::EvenlySpread(sent_away_.fetch_add(1, std::memory_order_relaxed));
    return {.hint = kMinRetryAfter + absl::Seconds(turn), .estimate = kMinRetryAfter};
  }
  absl::Duration restart = kRestartTime;
  {
    base::MutexLock lock(&mutex_);
    if (start_up_ > absl::ZeroDuration()) restart = std::max(start_up_, kMinRetryAfter);
  }
  return planner_.After(restart);
}

absl::Status AdmissionController::Refuse(Reason reason, const Subject& subject, std::string_view detail,
                                         std::string_view log_line, const RetryPlan& plan, LogFields fields,
                                         std::string_view component) {
  fields.reason = reason;
  fields.request_id = std::string(subject.request_id);
  fields.trace_id = std::string(subject.trace_id);
  fields.priority = subject.priority;
  fields.retry_after_ms = absl::ToInt64Milliseconds(plan.hint);
  const bool memory = reason == Reason::kGpuMemoryExhausted;
  log_.Refusal(options_.clock->Now(), memory ? LogSeverity::kError : LogSeverity::kWarning, component, log_line,
               fields);
  metrics_->CountRefusal(subject.priority, subject.prompt_tokens, reason, plan.hint);
  if (subject.returned != ReturnTiming::kNone) metrics_->CountReturn(subject.returned, /*admitted=*/false);
  request::RetryHint hint{.after = plan.hint, .promised = plan.promised, .should_retry = plan.should_retry};
  if (plan.estimate != absl::InfiniteDuration()) hint.estimated_wait = plan.estimate;
  if (plan.promised) {
    hint.ticket = tickets_.Issue(plan.promise, plan.forgotten);
    metrics_->CountTicketIssued();
  }
  return request::MakeBusy(reason, detail, hint);
}

}  // namespace hadal::admission
