// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "absl/time/time.h"

namespace hadal::base {

// Writes to a descriptor that is shared with other processes and therefore stays blocking, such as a pipe on standard
// output that nobody may read: only what fits at this moment is written, so that no call waits longer than `patience`.
// Takes what was written off the front of `text`. True when nothing is left; text that can never be written, because
// the other end is closed, is dropped. Any thread; two at a time may mix their pieces.
bool WriteFor(int fd, std::string_view* text, absl::Duration patience);

}  // namespace hadal::base
