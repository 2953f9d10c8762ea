// SPDX-License-Identifier: Apache-2.0
//
// Between our views and at::Tensor. Tensors made here own nothing and share the views' memory.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstdint>
#include <vector>

#include "kernels/tensor_view.h"

namespace hadal::kernels::torch {

at::ScalarType TypeOf(DType dtype);

// `view` on `device`, strides as they are.
at::Tensor Wrap(const at::Device& device, const TensorView& view);

// Host values as a tensor of `device`.
at::Tensor ToDevice(const at::Device& device, const std::vector<int64_t>& values);
at::Tensor ToDevice(const at::Device& device, const std::vector<float>& values);
at::Tensor ToDevice(const at::Device& device, const std::vector<double>& values);

// begin..end-1, i64.
at::Tensor Range(const at::Device& device, int64_t begin, int64_t end);

}  // namespace hadal::kernels::torch
