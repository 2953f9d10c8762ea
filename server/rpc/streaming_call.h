// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "base/sync.h"
#include "server/base/active_count.h"
#include "server/relay/relayed_call.h"
#include "server/rpc/server_call.h"
#include "server/service/call_pipeline.h"

namespace hadal::rpc {

// One Chat or Generate call. Only handles bytes; service::CallPipeline does everything else.
//   1. OnOpened (gRPC thread): checks for room, without taking a queue slot before the message has arrived.
//   2. OnMessage (gRPC thread): takes a queue slot. A refusal ends the call before the message is parsed, unless
//   another
//      server is asked for the answer (relay::RelayedCall).
//   3. Pump (executor): whenever the pipeline, or the other server, has news and no write is pending: read, encode,
//   send.
// Backpressure: while a write is pending, nothing is read, so the engine pauses the request.
class StreamingCall final : public ServerCall {
 public:
  // Decodes a message of one route. `priority_in_metadata`: the message's own class does not count.
  using DecodeMessage = absl::StatusOr<service::DecodedRequest> (*)(const grpc::ByteBuffer& message,
                                                                    bool priority_in_metadata);

  StreamingCall(const CallEnvironment* environment, grpc::GenericCallbackServerContext* context, std::string_view route,
                DecodeMessage decode)
      : ServerCall(environment, context, route, Access::kKey), decode_(decode) {}

 private:
  using Message = std::shared_ptr<const CallMessage>;

  absl::Status OnOpened() override;
  void OnMessage(CallMessage message) override;
  void OnWritten() override { SchedulePump(); }
  void OnAbort() override;
  void OnEnd(const absl::Status& status, int code) override;
  void SchedulePump();
  void Pump();

  service::CallPipeline::Decode DecodeOf(Message message) const;
  // Whether another server may answer what was refused so, and one may be asked now. `waited`: it had been admitted.
  bool IsForOthers(const absl::Status& refusal, bool waited) const;
  void EndOrPassOn(const absl::Status& refusal, bool waited) ABSL_EXCLUSIVE_LOCKS_REQUIRED(pump_mutex_);
  void PumpRelayed(relay::RelayedCall& relayed) ABSL_EXCLUSIVE_LOCKS_REQUIRED(pump_mutex_);
  std::vector<grpc::ByteBuffer> Encode(const service::CallUpdate& update, relay::RelayedCall& relayed)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(pump_mutex_);
  std::shared_ptr<relay::RelayedCall> relayed() const;

  const DecodeMessage decode_;
  std::atomic<bool> pump_scheduled_{false};
  std::atomic<bool> partial_grammar_{false};
  std::atomic<service::Rung> degraded_{service::Rung::kNone};
  std::atomic<response_cache::CacheResult> cache_{response_cache::CacheResult::kNone};

  std::shared_ptr<service::CallPipeline> pipeline_;   // set by OnOpened, before anybody else knows the call
  std::optional<base::ActiveCount::Scope> passable_;  // with upstreams
  absl::Status refused_at_door_;  // for lack of room, but another server may answer: the message is waited for

  base::Mutex pump_mutex_;  // one pump at a time
  bool first_ ABSL_GUARDED_BY(pump_mutex_) = true;
  Message kept_ ABSL_GUARDED_BY(pump_mutex_);          // for another server, until there is an answer of our own
  absl::Status refusal_ ABSL_GUARDED_BY(pump_mutex_);  // that stands unless the other server answers

  mutable base::Mutex relay_mutex_;
  std::shared_ptr<relay::RelayedCall> relayed_ ABSL_GUARDED_BY(relay_mutex_);
  std::string served_by_ ABSL_GUARDED_BY(relay_mutex_);
  bool over_ ABSL_GUARDED_BY(relay_mutex_) = false;  // nobody reads what another server says
};

}  // namespace hadal::rpc
