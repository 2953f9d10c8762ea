// SPDX-License-Identifier: Apache-2.0
#include "kernels/torch/tensors.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

namespace hadal::kernels::torch {
namespace {

template <typename T>
at::Tensor Uploaded(const at::Device& device, const std::vector<T>& values, at::ScalarType type) {
  const at::Tensor host =
      at::from_blob(const_cast<T*>(values.data()), {static_cast<int64_t>(values.size())}, at::TensorOptions(type));
  return host.to(at::TensorOptions(type).device(device), /*non_blocking=*/false, /*copy=*/true);
}

}  // namespace

at::ScalarType TypeOf(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return at::kFloat;
    case DType::kBF16:
      return at::kBFloat16;
    case DType::kF16:
      return at::kHalf;
    case DType::kF8E4M3:
      return at::kFloat8_e4m3fn;
    case DType::kE8M0:
      return at::kFloat8_e8m0fnu;
    case DType::kI32:
      return at::kInt;
    case DType::kI64:
      return at::kLong;
    case DType::kU8:
      return at::kByte;
  }
  return at::kByte;
}

at::Tensor Wrap(const at::Device& device, const TensorView& view) {
  const at::TensorOptions options = at::TensorOptions(TypeOf(view.dtype)).device(device);
  const at::IntArrayRef sizes(view.sizes.data(), view.rank), strides(view.strides.data(), view.rank);
  if (view.numel() == 0) return at::empty(sizes, options);  // it may have no memory
  return at::for_blob(view.data, sizes).strides(strides).options(options).target_device(device).make_tensor();
}

at::Tensor ToDevice(const at::Device& device, const std::vector<int64_t>& values) {
  return Uploaded(device, values, at::kLong);
}
at::Tensor ToDevice(const at::Device& device, const std::vector<float>& values) {
  return Uploaded(device, values, at::kFloat);
}
at::Tensor ToDevice(const at::Device& device, const std::vector<double>& values) {
  return Uploaded(device, values, at::kDouble);
}

at::Tensor Range(const at::Device& device, int64_t begin, int64_t end) {
  return at::arange(begin, end, at::TensorOptions(at::kLong).device(device));
}

}  // namespace hadal::kernels::torch
