// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <unordered_map>

#include "absl/base/thread_annotations.h"
#include "base/sync.h"

namespace hadal::kv_events {

// Maps the hashed salts of the prefix cache back to the `cache_salt` that callers sent. Keeps the last kMaxNames; older
// salts have no name. Thread-safe.
class SaltNames {
 public:
  static constexpr size_t kMaxNames = 16'384;

  void Remember(uint64_t salt, const std::string& name);
  // Empty for a salt without a name.
  std::string Find(uint64_t salt) const;

 private:
  mutable base::Mutex mutex_;
  std::unordered_map<uint64_t, std::string> names_ ABSL_GUARDED_BY(mutex_);
  std::deque<uint64_t> oldest_first_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace hadal::kv_events
