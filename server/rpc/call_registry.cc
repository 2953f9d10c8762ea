// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include "server/rpc/call_environment.h"
#include "server/rpc/streaming_call.h"

namespace hadal::rpc {

void CallRegistry::Add(const std::shared_ptr<StreamingCall>& call) {
  base::MutexLock lock(&mutex_);
  calls_.emplace(call.get(), call);
}

void CallRegistry::Remove(StreamingCall* call) {
  base::MutexLock lock(&mutex_);
  calls_.erase(call);
}

void CallRegistry::DropStalled(absl::Time since) {
  std::vector<std::shared_ptr<StreamingCall>> calls;
  {
    base::MutexLock lock(&mutex_);
    for (const auto& [key, weak] : calls_) {
      if (std::shared_ptr<StreamingCall> call = weak.lock()) calls.push_back(std::move(call));
    }
  }
  for (const std::shared_ptr<StreamingCall>& call : calls) call->DropIfStalled(since);
}

int CallRegistry::size() const {
  base::MutexLock lock(&mutex_);
  return static_cast<int>(calls_.size());
}

}  // namespace hadal::rpc
