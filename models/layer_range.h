// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace hadal::models {

// The layers [begin, end) of a model, those that one part of it holds. The part with the first layer also holds the
// embedding, the part with the last one the final norm and the head.
struct LayerRange {
  int64_t begin = 0;
  int64_t end = 0;

  int64_t size() const { return end - begin; }
  bool operator==(const LayerRange&) const = default;
};

}  // namespace hadal::models
