// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/sync.h"
#include "server/base/active_count.h"
#include "server/batches/batch_service.h"
#include "server/rpc/call_executor.h"
#include "server/rpc/connection_table.h"
#include "server/rpc/grpc_metrics.h"
#include "server/rpc/pending_calls.h"
#include "server/service/api_keys.h"
#include "server/service/generate_service.h"
#include "server/upstream/upstreams.h"

namespace hadal::rpc {

class HealthStatus;
class ServerCall;

// The calls in progress, so that the sweeper can find those that have waited too long for their client. Thread-safe;
// does not keep calls alive.
class CallRegistry {
 public:
  void Add(const std::shared_ptr<ServerCall>& call);
  void Remove(ServerCall* call);
  std::vector<std::shared_ptr<ServerCall>> List() const;
  int size() const;

 private:
  mutable base::Mutex mutex_;
  std::map<ServerCall*, std::weak_ptr<ServerCall>> calls_ ABSL_GUARDED_BY(mutex_);
};

// Limits on a call's message and on the waits for its client.
struct CallLimits {
  int64_t max_message_bytes = 0;
  absl::Duration message_timeout;      // for its message
  absl::Duration slow_reader_timeout;  // for a message of ours to be taken
};

// Dependencies of every call; owned by GrpcServer, outlives the calls.
struct CallEnvironment {
  service::GenerateService* service = nullptr;
  const service::ApiKeys* keys = nullptr;
  batches::BatchService* batches = nullptr;     // null: off
  upstream::Upstreams* upstreams = nullptr;     // null: there are none
  base::ActiveCount* passable_calls = nullptr;  // that upstreams may be asked about
  CallExecutor* executor = nullptr;
  CallRegistry* registry = nullptr;
  ConnectionTable* connections = nullptr;
  PendingCalls* pending_calls = nullptr;  // of callers with a key, until their message is there
  PendingCalls* public_calls = nullptr;   // of everybody's methods, until they end
  HealthStatus* health = nullptr;
  GrpcMetrics* metrics = nullptr;
  CallLimits limits;
  int max_connection_calls = 0;  // open calls of one connection; beyond them it is closed
  absl::StatusCode overload_code = absl::StatusCode::kUnavailable;  // of refusals for capacity
  bool load_reports = false;                                        // each call's trailers carry one, asked for or not
};

}  // namespace hadal::rpc
