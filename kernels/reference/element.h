// SPDX-License-Identifier: Apache-2.0
//
// One element of a view as a float, whatever its type. Slow and obvious: for reference loops only.
#pragma once

#include <cstdint>

#include "kernels/half.h"
#include "kernels/tensor_view.h"

namespace hadal::kernels::reference {

inline float LoadAt(const TensorView& view, int64_t offset) {
  switch (view.dtype) {
    case DType::kBF16:
      return ToFloat(view.as<const BF16>()[offset]);
    case DType::kF16:
      return ToFloat(view.as<const F16>()[offset]);
    default:
      return view.as<const float>()[offset];
  }
}

// `count` dense values from `offset` on.
inline void LoadRow(const TensorView& view, int64_t offset, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = LoadAt(view, offset + i);
}

inline void StoreAt(const TensorView& view, int64_t offset, float value) {
  switch (view.dtype) {
    case DType::kBF16:
      view.as<BF16>()[offset] = ToBF16(value);
      break;
    case DType::kF16:
      view.as<F16>()[offset] = ToF16(value);
      break;
    default:
      view.as<float>()[offset] = value;
      break;
  }
}

inline float RoundTo(DType dtype, float value) {
  if (dtype == DType::kBF16) return ToFloat(ToBF16(value));
  if (dtype == DType::kF16) return ToFloat(ToF16(value));
  return value;
}

inline int64_t Offset(const TensorView& v, int64_t i) { return i * v.stride(0); }
inline int64_t Offset(const TensorView& v, int64_t i, int64_t j) { return i * v.stride(0) + j * v.stride(1); }
inline int64_t Offset(const TensorView& v, int64_t i, int64_t j, int64_t k) {
  return Offset(v, i, j) + k * v.stride(2);
}
inline int64_t Offset(const TensorView& v, int64_t i, int64_t j, int64_t k, int64_t l) {
  return Offset(v, i, j, k) + l * v.stride(3);
}

template <typename... Index>
float Load(const TensorView& view, Index... index) {
  return LoadAt(view, Offset(view, static_cast<int64_t>(index)...));
}

}  // namespace hadal::kernels::reference
