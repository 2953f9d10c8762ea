// SPDX-License-Identifier: Apache-2.0
#include "server/upstream/pass_rules.h"

#include <limits>

#include "absl/strings/numbers.h"
#include "server/base/strings.h"
#include "server/request/refusal.h"

namespace hadal::upstream {
namespace {

using request::Reason;

// What cannot be read has come through too many.
int HopsOf(std::string_view hop) {
  int hops = 0;
  if (hop.empty()) return 0;
  return absl::SimpleAtoi(base::View(hop), &hops) && hops >= 0 ? hops : std::numeric_limits<int>::max();
}

}  // namespace

std::optional<int> HopsIfAllowed(const Upstreams* upstreams, const PassWishes& wishes) {
  if (upstreams == nullptr || !wishes.allow_degraded || wishes.allow_fallback == "0") return std::nullopt;
  if (upstreams->options().opt_in && wishes.allow_fallback != "1") return std::nullopt;
  const int hops = HopsOf(wishes.hop);
  return hops < upstreams->options().max_hops ? std::optional(hops) : std::nullopt;
}

bool IsForOthers(const absl::Status& refusal, bool waited) {
  if (refusal.ok()) return false;
  const Reason reason = request::GetErrorDetail(refusal).reason;
  if (request::WireErrorFor(reason).capacity && reason != Reason::kConnectionLimit) return true;
  // What comes to a server that drains finds another replica by its retry; what had been waiting is owed an answer.
  return reason == Reason::kModelLoading || (waited && reason == Reason::kDraining);
}

}  // namespace hadal::upstream
