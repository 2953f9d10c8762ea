// SPDX-License-Identifier: Apache-2.0
#include "server/engine/stop.h"

#include <algorithm>

namespace hadal::engine {

StopDecision CheckStop(const request::Request& request, int32_t token_id, int32_t produced) {
  const auto& stops = request.stop_token_ids;
  if (produced > request.min_tokens && std::find(stops.begin(), stops.end(), token_id) != stops.end()) {
    return {request::FinishReason::kStop, /*deliver=*/false};
  }
  if (produced >= request.max_tokens) return {request::FinishReason::kLength, /*deliver=*/true};
  return {};
}

}  // namespace hadal::engine
