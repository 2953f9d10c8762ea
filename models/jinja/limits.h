// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace hadal::jinja {

// What one render may take. A template that goes beyond ends with InvalidArgument that names the bound.
struct Limits {
  uint64_t max_steps = 20'000'000;              // evaluated nodes and handled characters; about 1 s
  size_t max_memory_bytes = size_t{256} << 20;  // of all values at one time
  size_t max_output_bytes = size_t{64} << 20;
  int max_depth = 1000;  // of nested evaluations: macros, recursive loops, expressions
  int64_t now = 0;       // Unix seconds that strftime_now shows; 0: the time of the render
};

}  // namespace hadal::jinja
