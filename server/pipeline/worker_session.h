// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/sync.h"
#include "models/model_part.h"
#include "models/registry.h"
#include "server/pipeline/connection.h"
#include "server/pipeline/messages.h"
#include "server/pipeline/remote_rest.h"
#include "server/pipeline/step_codec.h"
#include "server/pipeline/worker_metrics.h"

namespace hadal::pipeline {

// What a worker does for one leader: loads the layers that it is told to, plans and allocates their caches, and runs
// steps on them until the leader goes. What the leader sends is checked before anything is done or allocated for it; a
// message that is none ends the session. For one thread. A step is received while the
// one before it is computed, and where others follow this part, its result is awaited by a thread of its own.
class WorkerSession {
 public:
  struct Options {
    models::LoadOptions load;  // folder, device, threads; the rest comes from the leader
    std::string key;           // ReadKey
    std::string version;       // the program's
    absl::Duration patience;   // for workers after this one
    // Bytes that weights, workspace and caches of this part may take; asked once it is loaded.
    std::function<absl::StatusOr<int64_t>(const models::ModelInfo&)> memory_budget;
    std::function<void(const std::string&)> log;  // a line for the log; may be empty
  };

  // All are borrowed. `on_serving` is called by Run, once, when the layers are loaded and their caches allocated.
  WorkerSession(const Options* options, Connection* connection, WorkerMetrics* metrics,
                std::function<void()> on_serving)
      : options_(*options),
        connection_(*connection),
        metrics_(*metrics),
        on_serving_(std::move(on_serving)),
        sent_(connection->sent_bytes()),
        received_(connection->received_bytes()) {}
  ~WorkerSession();

  // Whether the other end knows the key, and may be served: `claim` is asked once it has shown the key, and says why
  // not. The other end is told. After an OK from `claim` only a connection that ends makes it fail.
  static absl::Status Greet(const Options& options, Connection& connection, const std::function<absl::Status()>& claim);

  // Until the leader goes. OK then; else what went wrong, which the leader has been told.
  absl::Status Run();

 private:
  absl::Status ReceiveAssignment();
  // Checks what can be checked before anything is loaded.
  absl::Status CheckAssignment(const Assignment& assignment) const;
  absl::Status Load(const Assignment& assignment);
  absl::Status Serve();
  absl::Status FitCache();
  absl::Status Allocate();
  // Steps, as they come, until one fails or the leader goes.
  absl::Status RunSteps();
  absl::Status RunStep();
  // On a thread of its own: gives the leader what the rest gives, while the session computes the steps behind it.
  void ForwardResults();
  // When all that was sent to the rest has been forwarded, or cannot be. Says what failed, if it was not the leader.
  absl::Status EndForwarding();
  // The largest cache up to `wanted` that this part's budget has room for.
  absl::StatusOr<models::KvCacheSize> FitOwnCache(const models::KvCacheSize& wanted) const;
  // Both note that the leader is gone.
  absl::StatusOr<MessageType> Receive(int64_t max_bytes);
  absl::Status Reply(MessageType type);
  void Tell(const absl::Status& status);
  // Bring the metrics up to what the connection has carried; the second for the thread that replies.
  void CountReceived();
  void CountSent();
  void Log(const std::string& line) const;

  const Options& options_;
  Connection& connection_;
  WorkerMetrics& metrics_;
  const std::function<void()> on_serving_;
  uint64_t sent_, received_;  // of the connection, counted already
  Assignment assignment_;
  StepLimits limits_;
  std::optional<models::KvCacheSize> fits_;  // what the leader was told
  bool allocated_ = false;
  bool leader_gone_ = false;
  std::unique_ptr<models::ModelPart> part_;
  std::unique_ptr<RemoteRest> rest_;  // null: this is the last part
  std::vector<std::byte> state_;      // what the part gave last; reused
  std::vector<std::byte> payload_;    // received; reused
  std::vector<std::byte> message_;    // sent; reused

  // Between the session and the thread that forwards.
  base::Mutex mutex_;
  base::CondVar changed_;
  int forwarding_ ABSL_GUARDED_BY(mutex_) = 0;  // steps that the rest has, and whose results are to be forwarded
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status forward_status_ ABSL_GUARDED_BY(mutex_);
  std::thread forwarder_;
};

}  // namespace hadal::pipeline
