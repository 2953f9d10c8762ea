// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "base/sync.h"
#include "client/attempt_loop.h"
#include "client/batch_client.h"

namespace hadal::client {

// An upload through all its attempts, each from the beginning of what is uploaded.
class UploadLoop final : public AttemptLoop {
 public:
  using Done = std::function<void(absl::StatusOr<BatchFile>)>;

  UploadLoop(std::shared_ptr<Connections> connections, absl::Time deadline, Upload upload, Done done)
      : AttemptLoop(std::move(connections), Metadata(), deadline), upload_(std::move(upload)), done_(std::move(done)) {}

 private:
  // Of one attempt; deletes itself.
  class Stream;

  void Launch(const Connections::Server& server, grpc::ClientContext* context) override;
  // An upload whose end has not been sent leaves nothing.
  bool MayHaveTakenEffect(const grpc::ClientContext& context) const override { return end_sent_ && WasSent(context); }
  void End(absl::Status status) override;
  // What is uploaded cannot be read.
  void CannotRead(absl::Status status);

  const Upload upload_;
  const Done done_;
  std::atomic<bool> end_sent_{false};  // by the attempt that is under way
  v1::File response_;
  base::Mutex error_mutex_;
  absl::Status read_error_ ABSL_GUARDED_BY(error_mutex_);
};

}  // namespace hadal::client
