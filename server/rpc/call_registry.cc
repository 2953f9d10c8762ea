// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/call_environment.h"
#include "server/rpc/server_call.h"

namespace hadal::rpc {

void CallRegistry::Add(const std::shared_ptr<ServerCall>& call) {
  base::MutexLock lock(&mutex_);
  calls_.emplace(call.get(), call);
}

void CallRegistry::Remove(ServerCall* call) {
  base::MutexLock lock(&mutex_);
  calls_.erase(call);
}

std::vector<std::shared_ptr<ServerCall>> CallRegistry::List() const {
  std::vector<std::shared_ptr<ServerCall>> calls;
  base::MutexLock lock(&mutex_);
  calls.reserve(calls_.size());
  for (const auto& [key, weak] : calls_) {
    if (std::shared_ptr<ServerCall> call = weak.lock()) calls.push_back(std::move(call));
  }
  return calls;
}

int CallRegistry::size() const {
  base::MutexLock lock(&mutex_);
  return static_cast<int>(calls_.size());
}

}  // namespace hadal::rpc
