// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string_view>

#include "absl/time/time.h"
#include "server/upstream/transfer_loop.h"

namespace hadal::upstream {

// Whether an answer with this head is passed on: a success with JSON or events that is not compressed (compression was
// not requested). An HTML page from a proxy in front of the upstream is not.
bool IsPassedOn(const TransferHead& head);

// The header fields that are passed to the client. All others concern the upstream's connection, account or cookies.
Fields PassedFields(const TransferHead& head);

// How long to avoid the upstream, by retry-after-ms or Retry-After; nullopt if absent. `wall_now`:
// for a Retry-After that is a date, which `parse_date` turns into seconds since 1970, -1 if it is none.
std::optional<absl::Duration> RestOf(const TransferHead& head, absl::Time wall_now,
                                     const std::function<int64_t(const char*)>& parse_date);

}  // namespace hadal::upstream
