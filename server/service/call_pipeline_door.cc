// SPDX-License-Identifier: Apache-2.0
// What is decided about a request before its body is parsed.
#include <algorithm>
#include <utility>

#include "server/service/call_pipeline.h"
#include "server/service/returning_client.h"

namespace hadal::service {
namespace {

// A first guess of what a prompt takes of a quota; its end replaces it when it was more.
constexpr int64_t kBytesPerPromptToken = 4;

}  // namespace

admission::AdmissionRequest CallPipeline::AdmissionOf(const CallInfo& info, int64_t body_bytes) {
  admission::AdmissionRequest request;
  request.priority = info.caller.priority;
  request.tenant = SenderOf(info);
  request.request_id = info.request_id;
  request.body_bytes = body_bytes;
  request.retry = RetryCallerOf(info, body_bytes);
  request.limits = {.arrival = info.arrival,
                    .deadline = info.deadline,
                    .first_token_by = std::min(info.first_token_by, info.gives_up_at),
                    .may_wait = info.may_wait};
  return request;
}

absl::Status CallPipeline::CheckRoom(int64_t body_bytes) {
  admission::AdmissionRequest request;
  std::shared_ptr<KeyQuota> quota;
  {
    base::MutexLock lock(&mutex_);
    request = AdmissionOf(info_, body_bytes);
    quota = info_.caller.quota;
  }
  if (quota != nullptr) {
    if (absl::Status status = quota->Check(service_->clock().Now()); !status.ok()) return OverQuota(request, status);
  }
  const base::LogScope named = Named();
  absl::Status status = service_->CheckRoom(request);
  return MayAnswer(status) ? absl::OkStatus() : status;
}

absl::Status CallPipeline::OverQuota(const admission::AdmissionRequest& request, const absl::Status& refusal) {
  const base::LogScope named = Named();
  const absl::Status state = service_->CheckState(request);
  return state.ok() ? refusal : state;
}

absl::Status CallPipeline::Admit(int64_t body_bytes) {
  admission::AdmissionRequest request;
  std::shared_ptr<KeyQuota> quota;
  {
    base::MutexLock lock(&mutex_);
    request = AdmissionOf(info_, body_bytes);
    quota = info_.caller.quota;
    asked_ = service_->clock().Now();
  }
  QuotaUse use;
  if (quota != nullptr) {
    absl::StatusOr<QuotaUse> begun = quota->Begin(service_->clock().Now(), body_bytes / kBytesPerPromptToken);
    if (!begun.ok()) return OverQuota(request, begun.status());
    use = *std::move(begun);
  }
  const base::LogScope named = Named();
  absl::StatusOr<admission::Ticket> ticket = service_->Admit(request);
  if (!ticket.ok() && !MayAnswer(ticket.status())) {
    use.Cancel();
    return ticket.status();
  }
  base::MutexLock lock(&mutex_);
  if (!Advance(State::kAdmitted)) return Cancelled();
  at_door_ = false;
  quota_use_ = std::move(use);
  lane_ = WorkerPool::LaneFor(body_bytes);
  pending_.admitted.push_back(AdmittedOf(std::move(ticket)));
  return absl::OkStatus();
}

absl::Status CallPipeline::PassOn(int64_t body_bytes) {
  std::shared_ptr<KeyQuota> quota;
  {
    base::MutexLock lock(&mutex_);
    passed_on_ = true;
    if (!std::exchange(at_door_, false)) return absl::OkStatus();
    quota = info_.caller.quota;
  }
  if (quota == nullptr) return absl::OkStatus();
  absl::StatusOr<QuotaUse> use = quota->Begin(service_->clock().Now(), body_bytes / kBytesPerPromptToken);
  if (!use.ok()) return use.status();
  base::MutexLock lock(&mutex_);
  quota_use_ = *std::move(use);
  return absl::OkStatus();
}

bool CallPipeline::MayAnswer(const absl::Status& refusal) const {
  return (allow_degraded_ && service_->MayDegrade(refusal, upstream_first_)) ||
         (asks_cache_ && service_->MayFindCached(refusal));
}

CallPipeline::Admitted CallPipeline::AdmittedOf(absl::StatusOr<admission::Ticket> ticket) {
  if (!ticket.ok()) return {nullptr, {}, ticket.status()};
  return {nullptr, *std::move(ticket), absl::OkStatus()};
}

}  // namespace hadal::service
