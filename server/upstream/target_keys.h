// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "base/sync.h"
#include "server/upstream/upstream_options.h"

namespace hadal::upstream {

// The keys for targets, read from their files. They never appear in messages, logs or metrics. Thread-safe.
class TargetKeys {
 public:
  // Reads every file. InvalidArgument or the file's error names file and flag; then the keys stay as they were.
  absl::Status Load(const std::vector<TargetOptions>& targets);
  // Of the target at `index`; empty: it wants none.
  std::string Get(size_t index) const;

 private:
  mutable base::Mutex mutex_;
  std::vector<std::string> keys_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace hadal::upstream
