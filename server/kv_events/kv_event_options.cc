// SPDX-License-Identifier: Apache-2.0
#include "server/kv_events/kv_event_options.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace hadal::kv_events {
namespace {

absl::Status CheckEndpoint(absl::string_view flag, const std::string& endpoint) {
  const bool tcp = absl::StartsWith(endpoint, "tcp://") && endpoint.rfind(':') > 5 && !absl::EndsWith(endpoint, ":");
  const bool ipc = absl::StartsWith(endpoint, "ipc://") && endpoint.size() > 6;
  if (endpoint.empty() || tcp || ipc) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--", flag, " is '", endpoint, "'; expected tcp://*:PORT, tcp://HOST:PORT or ipc://PATH"));
}

}  // namespace

absl::Status KvEventOptions::Validate() const {
  if (absl::Status status = CheckEndpoint("kv-events", endpoint); !status.ok()) return status;
  if (absl::Status status = CheckEndpoint("kv-events-replay", replay); !status.ok()) return status;
  if (!replay.empty() && endpoint.empty()) {
    return absl::InvalidArgumentError(
        "--kv-events-replay needs --kv-events: nothing is published that could be replayed");
  }
  if (!replay.empty() && !IsBindEndpoint(replay)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--kv-events-replay is '", replay, "'; subscribers connect to it: expected tcp://*:PORT or ipc://PATH"));
  }
  if (pod.find('@') != std::string::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("--kv-events-pod is '", pod, "'; it cannot hold '@', which separates the parts of a topic"));
  }
  return absl::OkStatus();
}

bool IsBindEndpoint(const std::string& endpoint) {
  return absl::StartsWith(endpoint, "ipc://") || endpoint.find('*') != std::string::npos ||
         endpoint.find("::") != std::string::npos;
}

}  // namespace hadal::kv_events
