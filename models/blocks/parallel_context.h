// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace hadal::models {

// Which part of every layer this process computes. Blocks take their share of heads, experts and columns through it, so
// a second rank changes no block's shape arithmetic.
struct ParallelContext {
  int32_t rank = 0;        // [0, world_size)
  int32_t world_size = 1;  // processes that share the model

  // This rank's part of `count` equal items; count must be a multiple of world_size.
  int64_t Share(int64_t count) const { return count / world_size; }
  int64_t First(int64_t count) const { return rank * Share(count); }
};

}  // namespace hadal::models
