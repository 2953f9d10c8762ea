// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/base/flag_set.h"
#include "server/redis/redis_options.h"

namespace hadal::batches {

// Files and batches (/v1/files, /v1/batches). Off without a store.
struct BatchOptions {
  std::string store;                                   // folder, sqlite:FOLDER or redis[s]://...; empty: off
  redis::RedisOptions redis;                           // of a store that is a Redis
  absl::Duration reclaim_after = absl::Seconds(60);    // of a replica's silence, over Redis
  int64_t store_bytes = int64_t{16} << 30;             // of the database; 0: what the disk holds
  int64_t max_file_bytes = int64_t{200} << 20;         // of one uploaded file
  int64_t max_key_bytes = int64_t{2} << 30;            // of all files of a tenant, results included
  int max_key_files = 1000;                            // of a tenant
  int max_key_batches = 16;                            // of a tenant, that have not ended
  int max_lines = 50'000;                              // of one batch
  int max_in_flight = 64;                              // lines at a time, over all batches
  absl::Duration completion_window = absl::Hours(24);  // then a batch expires
  absl::Duration retention = absl::Hours(24 * 30);     // of files, and of batches that have ended
  int64_t max_line_bytes = int64_t{16} << 20;          // of one line; the limit of a request's body

  bool enabled() const { return !store.empty(); }
  // Replicas share the store.
  bool shared() const { return redis::IsRedisUrl(store); }
  // Of the SQLite database.
  std::string Folder() const;
  // InvalidArgument names the flag, what it accepts and what was found.
  absl::Status Validate() const;

  void AddFlags(base::FlagSet* flags) {
    const int most = std::numeric_limits<int>::max();
    flags->AddText(
        "batch-store", &store,
        "where files and batches (/v1/files, /v1/batches) are kept: a folder, sqlite:FOLDER, or a Redis that "
        "replicas share, redis[s]://[USER[:PASSWORD]@]HOST[:PORT][/DB]",
        "none");
    redis.AddFlags("batch", "batch-store", flags);
    flags->AddDuration("batch-reclaim-after", &reclaim_after,
                       "over Redis: how long a replica may be silent before others take over its lines");
    flags->AddBytes("batch-store-size", &store_bytes,
                    "how large the SQLite database of files and batches may grow; 0: as the disk allows");
    flags->AddBytes("batch-max-file", &max_file_bytes, "maximum size of an uploaded file");
    flags->AddBytes("batch-max-key-bytes", &max_key_bytes, "maximum size of all files of a tenant, results included");
    flags->AddInt("batch-max-key-files", &max_key_files, {1, most}, "maximum number of files of a tenant");
    flags->AddInt("batch-max-key-batches", &max_key_batches, {1, most},
                  "maximum batches of a tenant that have not ended");
    flags->AddInt("batch-max-lines", &max_lines, {1, most}, "maximum requests in a batch");
    flags->AddInt("batch-max-in-flight", &max_in_flight, {1, 4096}, "requests of batches in flight at a time");
    flags->AddDuration("batch-window", &completion_window, "how long a batch may take before it expires");
    flags->AddDuration("batch-retention", &retention, "how long files and ended batches are kept");
  }
};

}  // namespace hadal::batches
