// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>

#include "absl/status/status.h"
#include "server/upstream/upstreams.h"

namespace hadal::upstream {

// What a request says about being passed on, in its headers or metadata.
struct PassWishes {
  std::string_view hop;             // x-hadal-hop
  std::string_view allow_fallback;  // x-hadal-allow-fallback
  bool allow_degraded = true;       // x-hadal-allow-degraded
};

// Servers that the request has come through, if it may be passed on at all: by its wishes, the operator's where it has
// none, and its hops. nullopt: it stays here, or there are no `upstreams` (null).
std::optional<int> HopsIfAllowed(const Upstreams* upstreams, const PassWishes& wishes);

// Whether another server may answer what was refused so. `waited`: it had been admitted before.
bool IsForOthers(const absl::Status& refusal, bool waited);

}  // namespace hadal::upstream
