// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/time/time.h"

namespace hadal::base {

enum class WriteResult : uint8_t {
  kWritten,
  kTimedOut,  // `text` begins with what was not written
  kFailed,    // it never can be: the other end is closed, the disk is full. `text` as above
};

// Writes to a descriptor that is shared with other processes and therefore stays blocking, such as a pipe on standard
// output that nobody may read: only what fits at this moment is written, so that no call waits longer than `patience`.
// Takes what was written off the front of `text`. Any thread; two at a time may mix their pieces.
WriteResult WriteFor(int fd, std::string_view* text, absl::Duration patience);

}  // namespace hadal::base
