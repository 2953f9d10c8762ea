// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>

#include "client/attempt_loop.h"
#include "client/client.h"

namespace hadal::client {

// A streamed response through all its attempts, read piece by piece. Start is not called: the first Next does it.
class GenerationLoop final : public AttemptLoop {
 public:
  using Async = v1::Inference::StubInterface::async_interface;
  using Reader = grpc::ClientReadReactor<v1::GenerateResponse>;
  // Begins the stream of one attempt; owns the request.
  using Open = std::function<void(Async* stub, grpc::ClientContext* context, Reader* reader)>;

  GenerationLoop(std::shared_ptr<Connections> connections, Metadata metadata, absl::Time deadline, Open open)
      : AttemptLoop(std::move(connections), std::move(metadata), deadline), open_(std::move(open)) {}

  // As Generation's.
  void Next(Generation::Then then);
  void Stop();
  void EndThinking(std::function<void(absl::Status)> done);
  absl::StatusOr<GenerationResult> result() const;

 private:
  // Of one attempt; deletes itself.
  class Stream;

  void Launch(Async* stub, grpc::ClientContext* context) override;
  void End(absl::Status status) override;
  void OnRead(bool ok);
  // gRPC ends a stream when no read is under way and nobody holds it. A hold is kept for reads to come.
  Stream* ReleaseLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(read_mutex_);

  const Open open_;
  mutable base::Mutex read_mutex_;
  Generation::Then then_ ABSL_GUARDED_BY(read_mutex_);
  Stream* held_ ABSL_GUARDED_BY(read_mutex_) = nullptr;  // null: no more reads
  bool started_ ABSL_GUARDED_BY(read_mutex_) = false;
  bool reading_ ABSL_GUARDED_BY(read_mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(read_mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(read_mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(read_mutex_);
  GenerationResult result_ ABSL_GUARDED_BY(read_mutex_);
};

}  // namespace hadal::client
