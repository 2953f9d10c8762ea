// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "base/sync.h"
#include "server/rpc/server_call.h"

namespace hadal::rpc {

class HealthWatch;

// What grpc.health.v1 answers: for "", the whole server, and for the services of hadal.v1 that it has. Thread-safe.
class HealthStatus {
 public:
  bool serving() const;
  // Notifies every watch of a change.
  void Set(bool serving);

 private:
  friend class HealthWatch;
  void Add(const std::shared_ptr<HealthWatch>& watch);
  void Remove(HealthWatch* watch);

  mutable base::Mutex mutex_;
  bool serving_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<HealthWatch*, std::weak_ptr<HealthWatch>> watches_ ABSL_GUARDED_BY(mutex_);
};

// grpc.health.v1.Health/Check: one answer, NOT_FOUND for another service.
class HealthCheck final : public ServerCall {
 public:
  HealthCheck(const CallEnvironment* environment, grpc::GenericCallbackServerContext* context)
      : ServerCall(environment, context, "Check", Access::kPublic) {}

 private:
  void OnMessage(CallMessage message) override;
};

// grpc.health.v1.Health/Watch: the current status and every change. A client that does not read misses intermediate
// changes and gets the latest.
class HealthWatch final : public ServerCall {
 public:
  HealthWatch(const CallEnvironment* environment, grpc::GenericCallbackServerContext* context)
      : ServerCall(environment, context, "Watch", Access::kPublic) {}

  // Has the executor send the status when it is another one than the last sent.
  void Update();

 private:
  void OnMessage(CallMessage message) override;
  void Push();
  void OnWritten() override { Update(); }
  void OnEnd(const absl::Status& status, int code) override;

  base::Mutex update_mutex_;
  bool known_ ABSL_GUARDED_BY(update_mutex_) = false;  // the service is ours
  int sent_ ABSL_GUARDED_BY(update_mutex_) = 0;        // the last status; 0 before the first
};

}  // namespace hadal::rpc
