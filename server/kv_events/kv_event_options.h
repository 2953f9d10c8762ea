// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/status.h"
#include "server/base/flag_set.h"

namespace hadal::kv_events {

struct KvEventOptions {
  std::string endpoint;  // ZeroMQ's, of the PUB socket; empty: nothing is published
  std::string replay;    // of the ROUTER socket; empty: none
  std::string pod;       // this replica's name in topics; empty: the host's name
  int buffer = 10'000;   // messages kept for subscribers that missed some, and at most 64 MiB of them

  bool enabled() const { return !endpoint.empty(); }

  // InvalidArgument names the flag and what is wrong with it.
  absl::Status Validate() const;

  void AddFlags(base::FlagSet* flags) {
    flags->AddText("kv-events", &endpoint, "publish what the prefix cache holds at this ZeroMQ endpoint", "none");
    flags->AddText("kv-events-replay", &replay, "ZeroMQ endpoint for what a subscriber missed", "none");
    flags->AddText("kv-events-pod", &pod, "this replica's name in the topics kv@POD@MODEL", "the host's name");
    flags->AddInt("kv-events-buffer", &buffer, {1, 1 << 20}, "messages with cache events kept for replay");
  }
};

// Listens there instead of connecting: `*` and `::` stand for every address, and `*` for any port; ipc.
bool IsBindEndpoint(const std::string& endpoint);

}  // namespace hadal::kv_events
