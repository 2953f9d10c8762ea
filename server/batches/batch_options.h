// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <string>

#include "absl/time/time.h"
#include "server/base/flag_set.h"

namespace hadal::batches {

// Files and batches (/v1/files, /v1/batches). Off without a folder to keep them in.
struct BatchOptions {
  std::string store;                                   // folder of the database; empty: off
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

  void AddFlags(base::FlagSet* flags) {
    const int most = std::numeric_limits<int>::max();
    flags->AddText("batch-store", &store, "folder in which files and batches (/v1/files, /v1/batches) are kept",
                   "none");
    flags->AddBytes("batch-store-size", &store_bytes,
                    "how large the database of files and batches may grow; 0: as the disk allows");
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
