// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/sync.h"
#include "server/rpc/call_environment.h"
#include "server/service/call_pipeline.h"

namespace hadal::rpc {

// One Chat or Generate call: its bytes. Everything between them is service::CallPipeline's.
//   1. Start (gRPC thread): metadata, key, queue slot. A refusal ends here: the message is still bytes, nothing was
//   sent.
//   2. Pump (executor): whenever the pipeline has news and no write is pending: read, encode.
//   3. Advance (any thread): the next write, or Finish once the end is known and everything has been written.
// A write that the client does not take stops reading from the pipeline, so the engine pauses the request.
//
// Owns itself from Start until OnDone; executor jobs hold references. gRPC frees context and message after OnDone,
// which comes after Finish: Finish waits for whoever uses one of them. Thread-safe.
class StreamingCall : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                      public std::enable_shared_from_this<StreamingCall> {
 public:
  // Decodes a message of one route. `priority_in_metadata`: the message's own class does not count.
  using DecodeMessage = absl::StatusOr<service::DecodedRequest> (*)(const grpc::ByteBuffer& message,
                                                                    bool priority_in_metadata);

  // Returns the reactor for gRPC. `environment` outlives the call, `message` is valid until OnDone.
  static grpc::ServerWriteReactor<grpc::ByteBuffer>* Start(const CallEnvironment* environment,
                                                           grpc::CallbackServerContext* context,
                                                           const grpc::ByteBuffer* message, std::string_view route,
                                                           DecodeMessage decode);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  // Ends the call when a write has been pending since before `since`.
  void DropIfStalled(absl::Time since);

 private:
  StreamingCall(const CallEnvironment* environment, grpc::CallbackServerContext* context)
      : environment_(environment), context_(context) {}

  void Admit(const grpc::ByteBuffer* message, std::string_view route, DecodeMessage decode);
  void SchedulePump();
  void Pump();
  void Advance();
  void End(absl::Status status);
  void FinishWith(const absl::Status& status);

  const CallEnvironment* const environment_;
  grpc::CallbackServerContext* const context_;
  std::shared_ptr<StreamingCall> self_;
  std::string request_id_;
  std::shared_ptr<service::CallPipeline> pipeline_;
  std::atomic<bool> pump_scheduled_{false};

  base::Mutex mutex_;
  std::deque<grpc::ByteBuffer> outbox_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;  // the outbox's head
  absl::Time writing_since_ ABSL_GUARDED_BY(mutex_);
  bool first_ ABSL_GUARDED_BY(mutex_) = true;
  bool stalled_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelling_ ABSL_GUARDED_BY(mutex_) = false;          // TryCancel uses the context: Finish waits
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;            // Finish was called
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);  // final status, sent when the outbox is empty
};

}  // namespace hadal::rpc
