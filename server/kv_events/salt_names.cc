// SPDX-License-Identifier: Apache-2.0
#include "server/kv_events/salt_names.h"

namespace hadal::kv_events {

void SaltNames::Remember(uint64_t salt, const std::string& name) {
  base::MutexLock lock(&mutex_);
  if (!names_.emplace(salt, name).second) return;
  oldest_first_.push_back(salt);
  if (oldest_first_.size() <= kMaxNames) return;
  names_.erase(oldest_first_.front());
  oldest_first_.pop_front();
}

std::string SaltNames::Find(uint64_t salt) const {
  base::MutexLock lock(&mutex_);
  const auto found = names_.find(salt);
  return found == names_.end() ? "" : found->second;
}

}  // namespace hadal::kv_events
