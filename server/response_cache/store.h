// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/response_cache/output_key.h"

namespace hadal::response_cache {

// One thread's connection to a store that outlives the process or is shared with others. Not thread-safe. After an
// error the next call opens a new connection.
class StoreConnection {
 public:
  virtual ~StoreConnection() = default;
  // NotFound: the store has no such entry. Any other error: it is unreachable, damaged or too slow.
  virtual absl::StatusOr<std::string> Get(const CacheKey& key) = 0;
  // Replaces an older entry. `ttl`: after that it may be dropped; infinite: it stays until there is no room.
  virtual absl::Status Put(const CacheKey& key, std::string_view entry, absl::Duration ttl) = 0;
};

// The second level behind the memory. Thread-safe.
class Store {
 public:
  virtual ~Store() = default;
  virtual std::string_view name() const = 0;  // "sqlite", "redis"
  // Takes nothing but memory: the first call of the connection opens it. `timeout` bounds each exchange with the store,
  // as far as the store can be interrupted.
  virtual std::unique_ptr<StoreConnection> Connect(absl::Duration timeout) const = 0;
};

}  // namespace hadal::response_cache
