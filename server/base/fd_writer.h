// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/time/time.h"

namespace hadal::base {

enum class WriteResult : uint8_t {
  kWritten,
  kTimedOut,  // `text` begins with what was not written
  kFailed,    // permanent: the other end is closed, the disk is full. `text` as above
};

// Writes to a descriptor that is shared with other processes and must therefore stay blocking, such as a pipe on
// standard output that may have no reader: writes only what fits without blocking, so that no call takes longer than
// `patience`. Removes what was written from the front of `text`. Any thread; concurrent calls may interleave their
// data.
WriteResult WriteFor(int fd, std::string_view* text, absl::Duration patience);

}  // namespace hadal::base
