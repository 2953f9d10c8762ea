// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/linear.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "models/status_macros.h"

namespace hadal::models {

absl::StatusOr<Linear> Linear::Load(const LoadContext& context, const std::string& name, bool bias) {
  HADAL_ASSIGN_OR_RETURN(checkpoint::LoadedTensor weight, context.loader.Load(absl::StrCat(name, ".weight")));
  checkpoint::LoadedTensor bias_values;
  if (bias) {
    HADAL_ASSIGN_OR_RETURN(bias_values, context.loader.Load(absl::StrCat(name, ".bias")));
  }
  return Linear(std::move(weight), std::move(bias_values));
}

absl::Status Linear::Forward(kernels::Backend& backend, const kernels::TensorView& x,
                             const kernels::TensorView& out) const {
  return backend.Gemm({.x = x, .w = weight_.view, .bias = bias_.view, .out = out});
}

absl::StatusOr<MergedLinear> MergedLinear::Load(const LoadContext& context, const std::vector<std::string>& names,
                                                bool bias) {
  MergedLinear merged;
  if (context.backend.host_accessible()) {
    for (const std::string& name : names) {
      HADAL_ASSIGN_OR_RETURN(Linear part, Linear::Load(context, name, bias));
      merged.parts_.push_back(std::move(part));
    }
  } else {
    std::vector<std::string> weights;
    std::vector<std::string> biases;
    for (const std::string& name : names) {
      weights.push_back(absl::StrCat(name, ".weight"));
      biases.push_back(absl::StrCat(name, ".bias"));
    }
    HADAL_ASSIGN_OR_RETURN(checkpoint::LoadedTensor weight, context.loader.LoadStacked(weights));
    checkpoint::LoadedTensor bias_values;
    if (bias) {
      HADAL_ASSIGN_OR_RETURN(bias_values, context.loader.LoadStacked(biases));
    }
    merged.parts_.emplace_back(std::move(weight), std::move(bias_values));
  }
  for (const Linear& part : merged.parts_) merged.out_features_ += part.out_features();
  return merged;
}

absl::Status MergedLinear::Forward(kernels::Backend& backend, const kernels::TensorView& x,
                                   const kernels::TensorView& out) const {
  int64_t column = 0;
  for (const Linear& part : parts_) {
    HADAL_RETURN_IF_ERROR(part.Forward(backend, x, out.Slice(1, column, part.out_features())));
    column += part.out_features();
  }
  return absl::OkStatus();
}

}  // namespace hadal::models
