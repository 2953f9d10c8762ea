// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace hadal::base {

// Files that somebody else put where we look: nothing but regular files is read, and none is waited for. A FIFO, a
// device or a directory in place of a file is InvalidArgument that names it; a missing file NotFound, one that may not
// be read PermissionDenied.

// Opens for reading and tells the size. The caller closes the descriptor.
absl::StatusOr<int> OpenRegularFile(const std::string& path, int64_t* size_bytes);

// The whole content of a file of at most `limit_bytes`; more is InvalidArgument naming the limit and the size.
absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t limit_bytes);

}  // namespace hadal::base
