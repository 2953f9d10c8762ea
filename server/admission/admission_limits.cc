// SPDX-License-Identifier: Apache-2.0
// Limits that callers give: at the door, and once more when a request leaves the queue.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/admission/admission.h"
#include "server/admission/model_state.h"
#include "server/base/strings.h"

namespace hadal::admission {
namespace {

using request::Reason;

// While nothing runs, refusals rest on what was measured before: after so long it is measured again.
constexpr absl::Duration kProbeAfter = absl::Seconds(5);

std::string Seconds(absl::Duration duration) {
  if (duration > kForecastHorizon) return absl::StrCat("more than ", absl::FormatDuration(kForecastHorizon));
  return absl::StrFormat("%.2f s", std::max(absl::ToDoubleSeconds(duration), 0.0));
}

std::string About(absl::Duration duration) {
  return duration > kForecastHorizon ? Seconds(duration) : absl::StrCat("about ", Seconds(duration));
}

}  // namespace

AdmissionController::LimitCheck AdmissionController::CheckLimits(const AdmissionRequest& request, int64_t prompt_tokens,
                                                                 const WaitForecast::Line& line, absl::Time now) {
  LimitCheck check;
  if (!request.limits.any()) return check;
  check.idle = absl::InfiniteDuration();
  for (const auto& model : models_) {
    const double share = model->forecast.computed_share();
    // A prompt is computed but for what the prefix cache has: on average a share of it. The least is one token, once
    // there has been a hit; before, half of the estimate.
    const auto expected = static_cast<int64_t>(share * static_cast<double>(prompt_tokens));
    const int64_t least = share < 1 ? 1 : (prompt_tokens + 1) / 2;
    const auto predict = [&](int64_t tokens) {
      return model->forecast.Predict(request.priority, {.prompt_tokens = std::max<int64_t>(tokens, 1)}, now, line);
    };
    WaitPrediction here = predict(expected);
    if (!here.known) {
      check.prediction = here;
      break;
    }
    // A forecast is up to a tenth of a second old. That the engine has come to rest since, it says itself.
    if (slots_.slots() == 0 && model->load.sequences() == 0 && line.others + 1 <= model->load.step().max_batch_size) {
      here.start = absl::ZeroDuration();
      here.first_token = here.unloaded;
    }
    if (!check.prediction.known || here.first_token < check.prediction.first_token) check.prediction = here;
    check.idle = std::min(check.idle, least == expected ? here.unloaded : predict(least).unloaded);
  }
  if (!check.prediction.known) {
    if (!request.limits.may_wait && slots_.slots() > 0) check.verdict.reason = Reason::kWaitLimit;
    return check;
  }
  check.verdict = Judge(request.limits, check.prediction, check.idle, now);
  // What is left of the deadline for a further attempt may be too little; that is nobody's mistake.
  if (check.verdict.reason == Reason::kRequestNeverFits && request.retry.attempt > 0) {
    check.verdict.reason = Reason::kDeadlineInfeasible;
    check.verdict.excess = check.prediction.first_token - check.verdict.left;
  }
  const bool too_slow =
      check.verdict.reason == Reason::kRequestNeverFits || check.verdict.reason == Reason::kDeadlineInfeasible;
  if (too_slow && Idle()) {
    idle_refusals_since_ = std::min(idle_refusals_since_, now);
    if (now - idle_refusals_since_ >= kProbeAfter) {
      check.verdict = {};
      probing_.store(true, std::memory_order_relaxed);
    }
  }
  return check;
}

bool AdmissionController::Idle() const {
  return slots_.slots() == 0 &&
         std::all_of(models_.begin(), models_.end(), [](const auto& model) { return model->load.sequences() == 0; });
}

absl::Status AdmissionController::RefuseForLimits(const CallerLimits& limits, const Subject& subject,
                                                  const LimitCheck& check) {
  const absl::Time now = options_.clock->Now();
  if (check.verdict.reason == Reason::kRequestNeverFits) {
    return request::MakeError(
        Reason::kRequestNeverFits,
        absl::StrFormat("the deadline leaves %.3f s; an idle server needs at least %.3f s to the first token",
                        absl::ToDoubleSeconds(limits.FirstBy() - std::min(limits.arrival, now)),
                        absl::ToDoubleSeconds(check.idle)));
  }
  if (check.verdict.reason == Reason::kWaitLimit) {
    const std::string wait =
        check.prediction.known ? absl::StrCat("would wait ", About(check.prediction.start)) : "would have to wait";
    const std::string detail = absl::StrCat("the request ", wait, ", and x-hadal-queue is no");
    return Refuse(Reason::kWaitLimit, subject, detail, absl::StrCat("WAIT_LIMIT: ", detail),
                  PlanReturn(subject, -1, 0));
  }
  const std::string detail = absl::StrCat("the first token is expected in ", Seconds(check.prediction.first_token),
                                          ", the deadline is in ", Seconds(check.verdict.left));
  // No slot is promised: with one it would still wait behind others.
  RetryPlan plan = planner_.After(std::clamp(check.verdict.excess, absl::ZeroDuration(), RetryPlanner::kLastPromise));
  plan.estimate = check.prediction.first_token;
  plan.should_retry = now + plan.hint + check.idle <= limits.deadline;
  return Refuse(Reason::kDeadlineInfeasible, subject, detail, absl::StrCat("DEADLINE_INFEASIBLE: ", detail), plan);
}

bool AdmissionController::CannotBeInTime(int model_index, const request::Request& request, int64_t new_tokens) const {
  if (request.StartBy() == absl::InfiniteFuture() || probing_.load(std::memory_order_relaxed)) return false;
  const absl::Time now = options_.clock->Now();
  const WaitPrediction prediction =
      models_[model_index]->forecast.Predict(request.priority, {.prompt_tokens = new_tokens}, now);
  return prediction.known && now + prediction.unloaded > request.StartBy();
}

AdmissionController::Subject AdmissionController::SubjectOf(const QueuedRequest& queued) {
  const request::Request& request = *queued.request;
  Subject subject{request.priority, request.id, static_cast<int64_t>(request.prompt.size()), queued.ticket.retry_};
  subject.trace_id = request.trace_id;
  return subject;
}

absl::Status AdmissionController::RefuseLate(const QueuedRequest& queued) {
  const request::Request& request = *queued.request;
  const absl::Time now = options_.clock->Now();
  const auto prompt_tokens = static_cast<int64_t>(request.prompt.size());
  LimitCheck check;
  check.verdict.reason = Reason::kDeadlineInfeasible;
  check.verdict.left = request.StartBy() - now;
  check.prediction =
      models_[queued.ticket.model_index_]->forecast.Predict(request.priority, {.prompt_tokens = prompt_tokens}, now);
  check.idle = check.prediction.first_token = check.prediction.unloaded;
  check.verdict.excess = check.idle - check.verdict.left;
  return RefuseForLimits({.deadline = request.deadline, .first_token_by = request.first_token_by}, SubjectOf(queued),
                         check);
}

absl::Status AdmissionController::RefuseUnstarted(const QueuedRequest& queued) {
  LimitCheck check;
  check.verdict.reason = Reason::kWaitLimit;
  return RefuseForLimits({}, SubjectOf(queued), check);
}

}  // namespace hadal::admission
