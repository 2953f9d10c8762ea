// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/store_call.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/batches/batch_request.h"
#include "server/batches/batch_service.h"
#include "server/batches/store_error.h"
#include "server/request/refusal.h"

namespace hadal::rpc {

absl::Status StoreCall::OnOpened() {
  return environment().batches == nullptr ? batches::BatchesAreOff() : absl::OkStatus();
}

void StoreCall::OnStore(Job job, Then then) {
  const bool posted =
      environment().batches->TryPost([self = shared_from_this(), job = std::move(job), then](batches::Tables& tables) {
        then(batches::ClientError(job(tables)));
      });
  if (!posted) then(service::WorkersBusy());
}

void StoreCall::OweToStore(Job job) {
  // Refused only when the store is closed, which then has forgotten what was taken.
  (void)environment().batches->PostOwed([self = shared_from_this(), job = std::move(job)](batches::Tables& tables) {
    (void)batches::ClientError(job(tables));  // logs it
  });
}

void UnaryStoreCall::OnMessage(CallMessage message) {
  const size_t size = message.bytes.Length();
  if (size > batches::kMaxRequestBytes) {
    return End(
        request::MakeError(request::Reason::kBodyTooLarge,
                           absl::StrCat("the message has ", size, " bytes; the limit is ", batches::kMaxRequestBytes)));
  }
  absl::StatusOr<Answer> answer = decode_(message.bytes, info().caller.tenant);
  if (!answer.ok()) return End(answer.status());
  OnStore(
      [this, answer = *std::move(answer)](batches::Tables& tables) {
        absl::StatusOr<grpc::ByteBuffer> response = answer(tables);
        if (response.ok()) response_ = *std::move(response);
        return response.status();
      },
      [this](absl::Status status) {
        if (!status.ok()) return End(std::move(status));
        if (wakes_) environment().batches->Wake();
        std::vector<grpc::ByteBuffer> messages;
        messages.push_back(std::move(response_));
        Send(std::move(messages), absl::OkStatus());
      });
}

}  // namespace hadal::rpc
