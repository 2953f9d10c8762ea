// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/base/circuit_breaker.h"
#include "server/base/clock.h"
#include "server/redis/client.h"

namespace hadal::batches {

// All keys of files and batches: one hash tag, so that a cluster keeps them together and scripts may use several.
inline constexpr absl::string_view kRedisPrefix = "hadal:{batches}:";

// The store thread's connection to Redis. While Redis is unreachable, a circuit breaker fails calls at once, so that
// jobs do not wait for one time-out after another; one call per second probes it. A connection that was closed while
// idle is replaced without an error, so every command must be safe to execute twice.
//
// Errors: UNAVAILABLE or DEADLINE_EXCEEDED if Redis is unreachable, is loading its file or is a read-only replica;
// RESOURCE_EXHAUSTED if its memory is full; FAILED_PRECONDITION if it might lose data; else INTERNAL. One thread at a
// time.
class RedisLink {
 public:
  RedisLink(redis::Endpoint endpoint, const base::Clock* clock);

  // FAILED_PRECONDITION says what is wrong with this Redis: its version is too old, or its policy drops keys when the
  // memory is full. Asked of each new connection, too.
  absl::Status Check();

  absl::StatusOr<redis::Reply> Run(const redis::Words& words);
  // One error is that of all.
  absl::StatusOr<std::vector<redis::Reply>> RunAll(const std::vector<redis::Words>& commands);
  // Runs a script with the key prefix as KEYS[1]. INTERNAL with its error.
  absl::StatusOr<redis::Reply> Eval(std::string_view script, std::vector<std::string> arguments);

  // Bytes of memory that Redis uses.
  absl::StatusOr<int64_t> UsedBytes();
  // Each change lives on the disk after a restart, as far as Check has seen.
  bool keeps_a_file() const { return keeps_a_file_; }
  // 0: closed, 1: half-open, 2: open.
  int circuit() const;

 private:
  absl::StatusOr<std::vector<redis::Reply>> Ask(const std::vector<redis::Words>& commands);

  const base::Clock& clock_;
  redis::Client client_;
  base::CircuitBreaker breaker_;
  int64_t checked_ = 0;  // connections that had been opened by the last check
  bool keeps_a_file_ = false;
};

// A key: its kind, and what it is of, if there are several.
std::string RedisKey(absl::string_view kind);
std::string RedisKey(absl::string_view kind, absl::string_view of);
std::string RedisKey(absl::string_view kind, int64_t of);

// Fields and values of HGETALL; what is not there is empty or 0.
class RedisFields {
 public:
  explicit RedisFields(const redis::Reply& reply) : reply_(reply) {}
  bool empty() const { return reply_.items.empty(); }
  std::string_view Text(std::string_view name) const;
  int64_t Int(std::string_view name) const;

 private:
  const redis::Reply& reply_;
};

}  // namespace hadal::batches
