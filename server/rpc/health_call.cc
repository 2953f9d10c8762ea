// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/health_call.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "grpc/health/v1/health.pb.h"
#include "server/request/refusal.h"
#include "server/rpc/message_codec.h"
#include "server/rpc/store_call.h"

namespace hadal::rpc {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

bool IsOurs(const std::string& service, const CallEnvironment& environment) {
  if (service == kBatchesService) return environment.batches != nullptr;
  return service.empty() || service == "hadal.v1.Inference";
}

std::vector<grpc::ByteBuffer> Response(HealthCheckResponse::ServingStatus status) {
  HealthCheckResponse response;
  response.set_status(status);
  std::vector<grpc::ByteBuffer> messages;
  messages.push_back(Serialize(response));
  return messages;
}

HealthCheckResponse::ServingStatus StatusOf(bool serving) {
  return serving ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
}

}  // namespace

bool HealthStatus::serving() const {
  base::MutexLock lock(&mutex_);
  return serving_;
}

void HealthStatus::Set(bool serving) {
  std::vector<std::shared_ptr<HealthWatch>> watches;
  {
    base::MutexLock lock(&mutex_);
    serving_ = serving;
    std::erase_if(watches_, [](const auto& entry) { return entry.second.expired(); });
    for (const auto& [key, weak] : watches_) {
      if (std::shared_ptr<HealthWatch> watch = weak.lock()) watches.push_back(std::move(watch));
    }
  }
  for (const std::shared_ptr<HealthWatch>& watch : watches) watch->Update();
}

void HealthStatus::Add(const std::shared_ptr<HealthWatch>& watch) {
  base::MutexLock lock(&mutex_);
  watches_.insert_or_assign(watch.get(), watch);
}

void HealthStatus::Remove(HealthWatch* watch) {
  base::MutexLock lock(&mutex_);
  watches_.erase(watch);
}

void HealthCheck::OnMessage(CallMessage message) {
  HealthCheckRequest request;
  if (absl::Status status = ParseMessage(message.bytes, &request); !status.ok()) return End(std::move(status));
  if (!IsOurs(request.service(), environment())) {
    return End(request::MakeError(request::Reason::kRouteNotFound, "the server has no such service", "service"));
  }
  Send(Response(StatusOf(environment().health->serving())), absl::OkStatus());
}

void HealthWatch::OnMessage(CallMessage message) {
  HealthCheckRequest request;
  if (absl::Status status = ParseMessage(message.bytes, &request); !status.ok()) return End(std::move(status));
  {
    base::MutexLock lock(&update_mutex_);
    known_ = IsOurs(request.service(), environment());
  }
  environment().health->Add(std::static_pointer_cast<HealthWatch>(shared_from_this()));
  Update();
}

void HealthWatch::Update() {
  environment().executor->Post([self = std::static_pointer_cast<HealthWatch>(shared_from_this())] { self->Push(); });
}

void HealthWatch::Push() {
  base::MutexLock lock(&update_mutex_);
  if (!ready()) return;  // OnWritten comes back
  const HealthCheckResponse::ServingStatus status =
      known_ ? StatusOf(environment().health->serving()) : HealthCheckResponse::SERVICE_UNKNOWN;
  if (status == sent_) return;
  sent_ = status;
  Send(Response(status));
}

void HealthWatch::OnEnd(const absl::Status&, int) { environment().health->Remove(this); }

}  // namespace hadal::rpc
