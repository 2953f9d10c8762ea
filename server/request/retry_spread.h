// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/time/time.h"

namespace hadal::request {

// The i-th of a sequence in (0, 1), evenly spread: any few in a row lie far apart.
double EvenlySpread(uint64_t i);

// A hint for refusals that no forecast knows of: from `least` to twice that. Clients that are refused together are told
// different times, as they return exactly when told; those of another process other ones. Thread-safe, lock-free.
absl::Duration SpreadOut(absl::Duration least);

}  // namespace hadal::request
