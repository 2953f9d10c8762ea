// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include "server/admission/admission.h"
#include "server/admission/model_state.h"

namespace hadal::admission {

Ticket& Ticket::operator=(Ticket&& other) noexcept {
  if (this != &other) {
    Release();
    controller_ = std::exchange(other.controller_, nullptr);
    slot_ = std::move(other.slot_);
    finalized_ = std::exchange(other.finalized_, false);
    model_index_ = std::exchange(other.model_index_, -1);
    retry_ = other.retry_;
    returned_ = other.returned_;
    admitted_ = other.admitted_;
    body_bytes_ = std::exchange(other.body_bytes_, 0);
    prompt_tokens_ = other.prompt_tokens_;
    predicted_output_ = other.predicted_output_;
    charged_ = other.charged_;
    tenant_ = std::move(other.tenant_);
    lease_ = std::move(other.lease_);
    prefix_ = std::move(other.prefix_);
  }
  return *this;
}

absl::Status Ticket::Finalize(const request::Request& request, int model_index) {
  if (controller_ == nullptr || finalized_) {
    return request::MakeError(request::Reason::kInternal, "Finalize: the ticket is empty or already finalized");
  }
  return controller_->FinalizeTicket(*this, request, model_index);
}

absl::Status Ticket::CheckSlot(request::Priority priority, std::string_view request_id) const {
  return evicted() ? controller_->RefuseEvicted({priority, request_id, 0, retry_, returned_}) : absl::OkStatus();
}

int64_t Ticket::leased_blocks() const {
  if (controller_ == nullptr || model_index_ < 0) return 0;
  return lease_.bytes() / controller_->models_[model_index_]->limits.block_bytes;
}

bool Ticket::StartPrefix(int32_t cached_blocks) {
  return prefix_ == nullptr || controller_->models_[model_index_]->prefixes.Start(*prefix_, cached_blocks, lease_);
}

void Ticket::PublishPrefix(int32_t index) {
  if (prefix_ != nullptr) controller_->models_[model_index_]->prefixes.Publish(*prefix_, index);
}

void Ticket::SuspendPrefix() {
  if (prefix_ != nullptr) controller_->models_[model_index_]->prefixes.Suspend(*prefix_, lease_);
}

int32_t Ticket::ExtendLease(const request::Request& request, int32_t produced, int32_t overrun) {
  return controller_ == nullptr ? 0 : controller_->Extend(*this, request, produced, overrun);
}

void Ticket::ReleaseSlot() {
  if (holds_slot()) controller_->ReturnSlot(*this, /*started=*/true);
}

void Ticket::RecordServed(request::Priority priority, int64_t prompt_tokens, int64_t output_tokens) {
  if (controller_ != nullptr) controller_->ChargeServed(*this, priority, prompt_tokens, output_tokens);
}

void Ticket::Release() {
  if (controller_ == nullptr) return;
  if (holds_slot()) controller_->ReturnSlot(*this, /*started=*/false);
  controller_->ReturnLease(*this);
  controller_ = nullptr;
  finalized_ = false;
}

}  // namespace hadal::admission
