// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string_view>

#include "absl/time/time.h"
#include "server/upstream/transfer_loop.h"

namespace hadal::upstream {

// Whether an answer with this head is passed on: a success, of JSON or events, and not compressed, as nobody asked for
// that. A page of a proxy in front of the upstream is none.
bool IsPassedOn(const TransferHead& head);

// The fields that the client is given. All others say something about the upstream's connection, account or cookies.
Fields PassedFields(const TransferHead& head);

// How long the upstream wants to be left alone, by retry-after-ms or Retry-After; nullopt: it does not say. `wall_now`:
// for a Retry-After that is a date, which `parse_date` turns into seconds since 1970, -1 if it is none.
std::optional<absl::Duration> RestOf(const TransferHead& head, absl::Time wall_now,
                                     const std::function<int64_t(const char*)>& parse_date);

}  // namespace hadal::upstream
