// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "kernels/weight_view.h"
#include "models/config/config.h"

namespace hadal::checkpoint {

// What a tensor is for: decides the values of dummy weights and the type it is kept in.
enum class TensorRole {
  kMatrix,         // [out, in]; may be stored as block-quantised FP8
  kEmbedding,      // [vocab, hidden]; never quantised
  kOutputHead,     // the same where it is multiplied with, also when it is the embedding as well
  kNorm,           // near 1
  kBias,           // near 0
  kRouter,         // router matrix; never quantised
  kRouterBias,     // choice correction; kept in f32
  kExpert,         // [out, in] of a routed expert; as kMatrix, or packed FP4 where the configuration says so
  kPlainMatrix,    // [out, in]; never quantised
  kFloat32,        // kept in f32
  kFloat32Matrix,  // [out, in]; kept in f32
  kExpertTable,    // [vocab, experts per token]: expert numbers by token id; kept in i32
};

// A parameter as a block declares it where it takes it (parameter_loader.h).
struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;
  TensorRole role = TensorRole::kMatrix;
  bool optional = false;

  int64_t elements() const;
};

// The type a tensor of this role is kept in for a compute type.
kernels::DType KeptDType(TensorRole role, kernels::DType compute_dtype);

// How a tensor of this role and shape is kept for a compute type: its scheme, with contiguous values and scales that
// have no memory yet (null).
kernels::WeightView KeptWeight(TensorRole role, const std::vector<int64_t>& shape, kernels::DType compute_dtype);

// Whether a tensor of that name belongs to the layers for multi-token prediction, which are ignored.
using MtpTensorTest = bool (*)(const config::ModelConfig& config, absl::string_view name);

// The MtpTensorTest of most families: model.layers.N with N from `layers` up to `layers` + `mtp_layers`.
bool IsMtpLayerTensor(const config::ModelConfig& config, absl::string_view name);

}  // namespace hadal::checkpoint
