// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/sync.h"
#include "models/model_part.h"
#include "server/base/notification.h"
#include "server/pipeline/connection.h"
#include "server/pipeline/messages.h"
#include "server/pipeline/step_codec.h"

namespace hadal::pipeline {

// The later layers of a model on other hosts, reached through the first of them: the near end of a connection to a
// Worker. A thread of its own reads, so that a worker that goes away is seen without a step, too. In order: Open,
// AwaitLoaded, FitKvCache, AllocateKvCache, then steps; lost() is for any thread.
class RemoteRest : public models::ModelRest {
 public:
  struct Options {
    std::string key;                                    // ReadKey
    std::string version;                                // the program's, for messages
    absl::Duration patience = absl::ZeroDuration();     // for a worker that does not answer yet, or serves another
    base::Notification* cancelled = nullptr;            // gives up waiting; may be null
    std::function<void(const std::string&)> on_notice;  // a line for the log about the wait; may be empty
    // Called once, on the reading thread, when the worker is lost; may only wake somebody. May be empty.
    std::function<void()> on_lost;
  };

  // Connects to the worker of assignment.parts[0], greets it and has it begin to load. Waits for a worker that cannot
  // be reached, or is busy, as long as the patience lasts: Unavailable then. PermissionDenied when the keys differ,
  // FailedPrecondition when the versions do.
  static absl::StatusOr<std::unique_ptr<RemoteRest>> Open(const Options& options, const Assignment& assignment);
  ~RemoteRest() override;

  // Until the worker and those after it have loaded their layers. The error of the one that could not.
  absl::Status AwaitLoaded();

  absl::StatusOr<models::KvCacheSize> FitKvCache(const models::KvCacheSize& wanted) override;
  absl::Status AllocateKvCache(const models::KvCacheSize& size) override;
  absl::Status Send(const models::StepInput& input, absl::Span<const std::byte> state,
                    std::chrono::nanoseconds computed) override;
  absl::StatusOr<models::StepOutput> Receive() override;

  // For the thread that receives. Of the step received last: when this host began it, and what it and then each worker
  // measured.
  absl::Time begun() const { return begun_; }
  const std::vector<PartFacts>& facts() const { return facts_; }
  // The worker that is lost, and why; OK and empty while all can be reached.
  Error lost() const;

 private:
  // A step whose result has not come.
  struct Sent {
    absl::Time begun;  // by this host's part
    absl::Time at;
    PartFacts own;
  };
  struct Answer {
    MessageType type = MessageType::kError;
    std::vector<std::byte> payload;
  };

  RemoteRest(std::unique_ptr<Connection> connection, const Options& options, const Assignment& assignment);

  // Greets and sends the assignment.
  static absl::Status Greet(Connection& connection, const Options& options, const Assignment& assignment);
  void ReadAnswers();
  void SetLost(Error error);
  // The next answer, which must be of that type.
  absl::StatusOr<Answer> Await(MessageType type);
  // Says why the worker is gone when it is.
  absl::Status Ask(MessageType type, absl::Span<const std::byte> head, absl::Span<const std::byte> tail);
  absl::StatusOr<Answer> Call(MessageType type, absl::Span<const std::byte> head, absl::Span<const std::byte> tail,
                              MessageType answer);

  const std::unique_ptr<Connection> connection_;
  const std::string address_;
  const std::function<void()> on_lost_;
  const StepLimits limits_;         // of results
  std::vector<std::byte> message_;  // reused
  absl::Time begun_;
  std::vector<PartFacts> facts_;

  mutable base::Mutex mutex_;
  base::CondVar changed_;
  int asked_ ABSL_GUARDED_BY(mutex_) = 1;  // messages that have no answer yet: the assignment has been sent
  std::deque<Answer> answers_ ABSL_GUARDED_BY(mutex_);
  std::deque<Sent> sent_ ABSL_GUARDED_BY(mutex_);
  Error lost_ ABSL_GUARDED_BY(mutex_);
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;  // the end is ours
  std::thread reader_;
};

}  // namespace hadal::pipeline
