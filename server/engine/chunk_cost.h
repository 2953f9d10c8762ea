// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace hadal::engine {

// What a short chunk of a prompt adds to a step that decodes, as seen in such steps: seconds per token, a moving
// average over some tens of them. The fit of the step time is led by long prompts, and takes a token of a chunk for as
// costly as one of theirs; but while decoding waits for memory, arithmetic is free. Not thread-safe.
class ChunkCost {
 public:
  // A step took `seconds`, whose decode rows alone take `decode_s` by the fit; besides, it had `tokens` of a chunk, or
  // 0. Steps with chunks count once there was one without.
  void Record(double decode_s, int32_t tokens, double seconds);
  // How many tokens add `seconds` to a step: infinite if they are free, 0 while unknown.
  double TokensFor(double seconds) const;

 private:
  // Decoding took that times what the fit says, which the chunks are not to be blamed for. 0: unknown.
  double decode_ratio_ = 0;
  double added_s_ = 0, tokens_ = 0;  // of steps with chunks; 0 tokens: there was none
};

}  // namespace hadal::engine
