// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "base/sync.h"
#include "server/rpc/server_call.h"
#include "server/service/call_pipeline.h"

namespace hadal::rpc {

// One Chat or Generate call. Only handles bytes; service::CallPipeline does everything else.
//   1. OnOpened (gRPC thread): checks for room, without taking a queue slot before the message has arrived.
//   2. OnMessage (gRPC thread): takes a queue slot. A refusal ends the call before the message is parsed.
//   3. Pump (executor): whenever the pipeline has news and no write is pending: read, encode, send.
// Backpressure: while a write is pending, nothing is read from the pipeline, so the engine pauses the request.
class StreamingCall final : public ServerCall {
 public:
  // Decodes a message of one route. `priority_in_metadata`: the message's own class does not count.
  using DecodeMessage = absl::StatusOr<service::DecodedRequest> (*)(const grpc::ByteBuffer& message,
                                                                    bool priority_in_metadata);

  StreamingCall(const CallEnvironment* environment, grpc::GenericCallbackServerContext* context, std::string_view route,
                DecodeMessage decode)
      : ServerCall(environment, context, route, Access::kKey), decode_(decode) {}

 private:
  absl::Status OnOpened() override;
  void OnMessage(CallMessage message) override;
  void OnWritten() override { SchedulePump(); }
  void OnAbort() override;
  void OnEnd(const absl::Status& status, int code) override;
  void SchedulePump();
  void Pump();

  const DecodeMessage decode_;
  std::atomic<bool> pump_scheduled_{false};
  std::atomic<bool> partial_grammar_{false};
  std::atomic<service::Rung> degraded_{service::Rung::kNone};
  std::atomic<response_cache::CacheResult> cache_{response_cache::CacheResult::kNone};

  std::shared_ptr<service::CallPipeline> pipeline_;  // set by OnOpened, before anybody else knows the call

  base::Mutex pump_mutex_;  // one pump at a time
  bool first_ ABSL_GUARDED_BY(pump_mutex_) = true;
};

}  // namespace hadal::rpc
