// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/base/flag_set.h"
#include "server/redis/redis_options.h"

namespace hadal::response_cache {

// Where answers are kept for requests that ask for it; nowhere by default.
struct ResponseCacheOptions {
  std::string levels;  // "memory", "memory,sqlite:PATH" or "memory,redis[s]://..."; empty: off
  int64_t memory_bytes = int64_t{256} << 20;
  int64_t disk_bytes = int64_t{1} << 30;                  // of the SQLite file
  redis::RedisOptions redis;                              // of a second level that is a Redis
  absl::Duration lookup_timeout = absl::Milliseconds(5);  // that a request waits for the second level
  absl::Duration ttl = absl::Hours(1);                    // of an answer; 0: until it is dropped for others
  bool shared = false;                                    // tenants get each other's answers
  int32_t replay_rate = 0;                                // tokens a second of each choice; 0: all at once

  bool enabled() const { return !levels.empty(); }
  // What stands behind "memory,"; empty: there is no second level.
  std::string SecondLevel() const;
  // InvalidArgument names the flag, what it accepts and what was found.
  absl::Status Validate() const;

  void AddFlags(base::FlagSet* flags) {
    flags->AddText("response-cache", &levels,
                   "where answers of requests with x-hadal-cache are kept, when they would get the same again: memory, "
                   "memory,sqlite:PATH or memory,redis[s]://[USER[:PASSWORD]@]HOST[:PORT][/DB]",
                   "none");
    flags->AddBytes("response-cache-size", &memory_bytes, "memory for --response-cache");
    flags->AddBytes("response-cache-disk-size", &disk_bytes, "size of the SQLite file of --response-cache");
    redis.AddFlags("response-cache", "response-cache", flags);
    flags->AddDuration("response-cache-lookup-timeout", &lookup_timeout,
                       "how long a request waits for the second level of --response-cache");
    flags->AddDuration("response-cache-ttl", &ttl, "how old an answer of --response-cache may be; 0: any age");
    flags->AddBool("response-cache-shared", &shared, "let tenants get each other's answers from --response-cache");
    flags->AddInt("response-cache-replay-rate", &replay_rate, {0, std::numeric_limits<int32_t>::max()},
                  "tokens a second at which answers of --response-cache are streamed; 0: at once");
  }
};

}  // namespace hadal::response_cache
