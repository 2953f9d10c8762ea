// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/sync.h"
#include "server/rpc/call_executor.h"
#include "server/service/api_keys.h"
#include "server/service/generate_service.h"

namespace hadal::rpc {

class StreamingCall;

// Calls in progress, so that writes that a client does not take can be found. Thread-safe; keeps no call alive.
class CallRegistry {
 public:
  void Add(const std::shared_ptr<StreamingCall>& call);
  void Remove(StreamingCall* call);
  // Ends each call whose write has been pending since before `since`.
  void DropStalled(absl::Time since);
  int size() const;

 private:
  mutable base::Mutex mutex_;
  std::map<StreamingCall*, std::weak_ptr<StreamingCall>> calls_ ABSL_GUARDED_BY(mutex_);
};

// What every call needs; owned by GrpcServer, outlives the calls.
struct CallEnvironment {
  service::GenerateService* service = nullptr;
  const service::ApiKeys* keys = nullptr;
  CallExecutor* executor = nullptr;
  CallRegistry* registry = nullptr;
};

}  // namespace hadal::rpc
