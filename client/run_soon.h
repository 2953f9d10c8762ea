// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "absl/time/time.h"

namespace hadal::client {

// Runs `then` soon, on a thread of gRPC: for callbacks whose caller may hold a lock that they take. There must be, or
// have been, a Connections: it keeps those threads.
void RunSoon(std::function<void()> then);
// The same, after `wait`.
void RunAfter(absl::Duration wait, std::function<void()> then);

}  // namespace hadal::client
