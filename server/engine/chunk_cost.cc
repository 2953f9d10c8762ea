// SPDX-License-Identifier: Apache-2.0
#include "server/engine/chunk_cost.h"

#include <algorithm>
#include <limits>

namespace hadal::engine {
namespace {

constexpr double kFollowWeight = 1.0 / 16;  // of the last step in the moving averages
// A step that took many times longer than decoding alone (a page fault, a neighbour) counts as so many times.
constexpr double kMostOfDecoding = 3;

void Follow(double value, double& average) { average += kFollowWeight * (value - average); }

}  // namespace

void ChunkCost::Record(double decode_s, int32_t tokens, double seconds) {
  if (decode_s <= 0) return;
  if (tokens == 0) {
    const double ratio = seconds / decode_s;
    if (decode_ratio_ == 0) decode_ratio_ = ratio;
    Follow(std::min(ratio, kMostOfDecoding * decode_ratio_), decode_ratio_);
    return;
  }
  if (decode_ratio_ == 0) return;
  const double alone_s = decode_ratio_ * decode_s;
  // Not cut off at 0: what is too short and too long by chance makes up for each other.
  const double added_s = std::min(seconds, kMostOfDecoding * alone_s) - alone_s;
  if (tokens_ == 0) {
    tokens_ = tokens;
    added_s_ = added_s;
  }
  Follow(tokens, tokens_);
  Follow(added_s, added_s_);
}

double ChunkCost::TokensFor(double seconds) const {
  if (tokens_ == 0) return 0;
  return added_s_ > 0 ? seconds / added_s_ * tokens_ : std::numeric_limits<double>::infinity();
}

}  // namespace hadal::engine
