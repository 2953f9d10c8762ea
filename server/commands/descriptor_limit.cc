// SPDX-License-Identifier: Apache-2.0
#include "server/commands/descriptor_limit.h"

#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "server/http/http_options.h"

namespace hadal::commands {
namespace {

// Checkpoint files, threads' event descriptors, logs, devices.
constexpr int64_t kOwnDescriptors = 128;

}  // namespace

absl::StatusOr<DescriptorPlan> PlanDescriptors(int64_t max_connections, int64_t grpc_connections, bool tls,
                                               int64_t upstream_connections) {
  rlimit limits{};
  if (::getrlimit(RLIMIT_NOFILE, &limits) != 0) {
    return absl::InternalError(absl::StrCat("cannot read ulimit -n: ", std::strerror(errno)));
  }
  // The client's socket, and a pair between what ends TLS and the front.
  const int64_t each = tls ? 3 : 1;
  const int64_t others =
      each * (grpc_connections + http::HttpOptions::kReservedConnections) + kOwnDescriptors + upstream_connections;
  DescriptorPlan plan{.needed = each * max_connections + others, .max_connections = max_connections};
  const rlim_t needed = static_cast<rlim_t>(plan.needed);
  if (limits.rlim_cur < needed && limits.rlim_cur < limits.rlim_max) {
    rlimit raised = limits;
    raised.rlim_cur = std::min(needed, limits.rlim_max);
    if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) limits = raised;
  }
  plan.limit = static_cast<int64_t>(std::min<rlim_t>(limits.rlim_cur, INT64_MAX));
  // With few descriptors half of them are for clients, and the listener's reserve does the rest.
  if (plan.limit < plan.needed)
    plan.max_connections = std::max((plan.limit - others) / each, std::max<int64_t>(plan.limit / 2 / each, 1));
  return plan;
}

}  // namespace hadal::commands
