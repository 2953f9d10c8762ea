// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/cpu/kernel_table.h"
#include "kernels/tensor_view.h"

namespace hadal::kernels::cpu {

// Address of an element, `offset` in elements from the start of the view.
inline char* Address(const TensorView& view, int64_t offset) {
  return static_cast<char*>(view.data) + offset * DTypeBytes(view.dtype);
}

// Copies `n` dense values with a change of type; `scratch` holds n floats and is used only when the types differ and
// neither is f32.
inline void ConvertRow(const KernelTable& table, DType from, const void* x, DType to, void* out, int64_t n,
                       float* scratch) {
  if (n <= 0) return;
  if (from == to) {
    std::memmove(out, x, static_cast<size_t>(n * DTypeBytes(from)));
  } else if (to == DType::kF32) {
    table.to_f32(from, x, static_cast<float*>(out), n);
  } else if (from == DType::kF32) {
    table.from_f32(to, static_cast<const float*>(x), out, n);
  } else {
    table.to_f32(from, x, scratch, n);
    table.from_f32(to, scratch, out, n);
  }
}

// Rows a worker takes at a time, so that a piece is worth handing out.
inline int64_t RowGrain(int64_t row_values) { return std::max<int64_t>(1, 16384 / std::max<int64_t>(row_values, 1)); }

}  // namespace hadal::kernels::cpu
