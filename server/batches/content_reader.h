// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <string>

#include "absl/status/statusor.h"
#include "server/batches/batch_types.h"
#include "server/batches/tables.h"

namespace hadal::batches {

// The bytes of a file from one on, piece by piece: for downloads that go on where they broke off. Each Next is a short
// job on the store's thread. An upload is read from the byte on; of results what comes before is read, too, and left
// out, since the store knows their lines and not their places. Not thread-safe.
class ContentReader {
 public:
  struct Piece {
    std::string bytes;  // may be empty before the end
    bool end = false;   // nothing follows
  };

  ContentReader() = default;
  // Bytes `begin` to `end` - 1 of the file; `end` may be behind its end.
  explicit ContentReader(StoredFile file, int64_t begin = 0, int64_t end = std::numeric_limits<int64_t>::max());

  absl::StatusOr<Piece> Next(Tables& tables);

 private:
  StoredFile file_;
  int64_t at_ = 0;    // of the file: what the next piece begins with
  int64_t left_ = 0;  // bytes that are wanted
  int64_t from_ = 0;  // FileTable::Read's place, of results
  int64_t skip_ = 0;  // bytes from there to `at_`
};

}  // namespace hadal::batches
