// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "server/batches/batch_table.h"
#include "server/batches/file_table.h"

namespace hadal::batches {

// What the store's thread works on.
class Tables {
 public:
  virtual ~Tables() = default;
  Tables(const Tables&) = delete;
  Tables& operator=(const Tables&) = delete;

  // 0: the store can be reached, or is asked whatever happens; 1: it is asked once, to see; 2: it is not asked.
  virtual int circuit() const = 0;
  // Bytes that the store uses.
  virtual absl::StatusOr<int64_t> UsedBytes() = 0;

  FileTable& files;
  BatchTable& batches;

 protected:
  Tables(FileTable& files, BatchTable& batches) : files(files), batches(batches) {}
};

}  // namespace hadal::batches
