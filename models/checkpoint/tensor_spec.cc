// SPDX-License-Identifier: Apache-2.0
#include "models/checkpoint/tensor_spec.h"

#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"

namespace hadal::checkpoint {

int64_t TensorSpec::elements() const {
  int64_t elements = 1;
  for (const int64_t size : shape) elements *= size;
  return elements;
}

kernels::DType KeptDType(TensorRole role, kernels::DType compute_dtype) {
  if (role == TensorRole::kExpertTable) return kernels::DType::kI32;
  if (role == TensorRole::kRouterBias || role == TensorRole::kFloat32 || role == TensorRole::kFloat32Matrix) {
    return kernels::DType::kF32;
  }
  return compute_dtype;
}

kernels::WeightView KeptWeight(TensorRole role, const std::vector<int64_t>& shape, kernels::DType compute_dtype) {
  return kernels::WeightView::Plain(kernels::TensorView(nullptr, KeptDType(role, compute_dtype), shape));
}

bool IsMtpLayerTensor(const config::ModelConfig& config, absl::string_view name) {
  if (!absl::ConsumePrefix(&name, "model.layers.")) return false;
  const size_t dot = name.find('.');
  int64_t layer = 0;
  if (dot == name.npos || !absl::SimpleAtoi(name.substr(0, dot), &layer)) return false;
  return layer >= config.layers && layer < config.layers + config.mtp_layers;
}

}  // namespace hadal::checkpoint
