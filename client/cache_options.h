// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "absl/time/time.h"

namespace hadal::client {

// A cache of answers on the client's side, off unless it has room. It answers calls whose answer is determined, by
// temperature 0 or a seed, and whose reasoning nobody may end meanwhile; everything that decides the answer is part of
// the key, and so are the servers and the API key: nobody gets another one's answers.
struct CacheOptions {
  int64_t memory_bytes = 0;  // in memory; the least lately used goes first. 0: nothing
  std::string folder;        // and on disk, for the next run and other processes of the same user. Empty: nothing
  int64_t disk_bytes = 1'000'000'000;   // in that folder; the oldest go first
  absl::Duration ttl = absl::Hours(1);  // how old an answer may be: servers may get another model under the same name

  bool on() const { return memory_bytes != 0 || !folder.empty(); }
};

}  // namespace hadal::client
