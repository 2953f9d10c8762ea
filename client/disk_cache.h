// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/sync.h"

namespace hadal::client {

// Encoded answers in a folder, a file each, for the next run and for other processes at the same time: a file comes
// whole, by a rename, and is believed only with its checksum. A disk that is full or gone costs misses, nothing else.
// Thread-safe.
class DiskCache {
 public:
  // Makes the folder, for its owner alone, where there is none. The status names what is wrong with it. All files in it
  // whose names are keys are taken for the cache's.
  static absl::StatusOr<std::unique_ptr<DiskCache>> Open(const std::string& folder, int64_t max_bytes);

  struct Entry {
    std::string value;
    absl::Time expires;
  };
  // `key`: a Digest.
  std::optional<Entry> Find(const std::string& key, absl::Time now);
  // Replaces an older value. Where the files would then fill more than the bound, the oldest go.
  void Add(const std::string& key, const std::string& value, absl::Time expires);

 private:
  DiskCache(std::string folder, int64_t max_bytes) : folder_(std::move(folder)), max_bytes_(max_bytes) {}

  std::string PathOf(const std::string& key) const;
  // Looks at all files, since others write here, too; drops the oldest until a tenth of the bound is free.
  void Trim();

  const std::string folder_;
  const int64_t max_bytes_;
  base::Mutex mutex_;
  int64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // as far as this process knows
};

}  // namespace hadal::client
