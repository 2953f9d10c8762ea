// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"

namespace hadal::commands {

// How many HTTP clients may be connected under the process's limit of file descriptors.
struct DescriptorPlan {
  int64_t needed = 0;           // what the flags ask for: clients, reserve, and the process's own
  int64_t limit = 0;            // ulimit -n, after it was raised
  int64_t max_connections = 0;  // as asked when the limit allows, else fewer
};

// Raises the soft limit (ulimit -n) to what so many connections of either front need, as far as the hard limit allows,
// and plans with what holds then. Under TLS a connection has three descriptors. `upstream_connections` of our own come
// on top. Internal when the limit cannot be read.
absl::StatusOr<DescriptorPlan> PlanDescriptors(int64_t max_connections, int64_t grpc_connections, bool tls,
                                               int64_t upstream_connections = 0);

}  // namespace hadal::commands
