// SPDX-License-Identifier: Apache-2.0
#include "server/commands/descriptor_limit.h"

#include <algorithm>

#include "server/base/process_limits.h"
#include "server/http/http_options.h"

namespace hadal::commands {
namespace {

// Checkpoint files, threads' event descriptors, logs, devices.
constexpr int64_t kOwnDescriptors = 128;

}  // namespace

absl::StatusOr<DescriptorPlan> PlanDescriptors(int64_t max_connections, int64_t grpc_connections, bool tls,
                                               int64_t upstream_connections) {
  // The client's socket, and a pair between what ends TLS and the front.
  const int64_t each = tls ? 3 : 1;
  const int64_t others =
      each * (grpc_connections + http::HttpOptions::kReservedConnections) + kOwnDescriptors + upstream_connections;
  DescriptorPlan plan{.needed = each * max_connections + others, .max_connections = max_connections};
  const absl::StatusOr<int64_t> limit = base::RaiseDescriptorLimit(plan.needed);
  if (!limit.ok()) return limit.status();
  plan.limit = *limit;
  // With few descriptors half of them are for clients, and the listener's reserve does the rest.
  if (plan.limit < plan.needed)
    plan.max_connections = std::max((plan.limit - others) / each, std::max<int64_t>(plan.limit / 2 / each, 1));
  return plan;
}

}  // namespace hadal::commands
