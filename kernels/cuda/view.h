// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/tensor_view.h"

namespace hadal::kernels::cuda {

// A TensorView as kernels take it: plain data, passed by value. Dimensions beyond the rank have size 1 and stride 0.
// The last dimension of the tensor is dense (the Check functions see to that), so its stride is not looked at.
struct View {
  void* data = nullptr;
  DType dtype = DType::kF32;
  int64_t size[4] = {1, 1, 1, 1};
  int64_t stride[4] = {0, 0, 0, 0};
};

inline View ToView(const TensorView& tensor) {
  View view;
  view.data = tensor.data;
  view.dtype = tensor.dtype;
  for (int i = 0; i < tensor.rank; ++i) {
    view.size[i] = tensor.sizes[i];
    view.stride[i] = tensor.strides[i];
  }
  return view;
}

// The same with leading dimensions of size 1, so that the last dimension is always number 3.
inline View ToViewRightAligned(const TensorView& tensor) {
  View view;
  view.data = tensor.data;
  view.dtype = tensor.dtype;
  for (int i = 0; i < tensor.rank; ++i) {
    view.size[4 - tensor.rank + i] = tensor.sizes[i];
    view.stride[4 - tensor.rank + i] = tensor.strides[i];
  }
  return view;
}

}  // namespace hadal::kernels::cuda
