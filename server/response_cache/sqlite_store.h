// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/response_cache/store.h"

namespace hadal::response_cache {

// An SQLite file of at most `max_bytes`; entries that were used least recently are dropped for new ones. Several
// processes of one machine may share it. What was written survives the process; the last entries may not survive a
// power failure. The file is opened here once, to see that it can be: FailedPrecondition names it. One that is damaged,
// locked or on a full disk is logged, and tried again by each connection: a file that is removed is made anew.
absl::StatusOr<std::unique_ptr<Store>> MakeSqliteStore(std::string path, int64_t max_bytes);

}  // namespace hadal::response_cache
