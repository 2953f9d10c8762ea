// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/linear.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "models/status_macros.h"

namespace hadal::models {

namespace {

checkpoint::TensorSpec Weight(const std::string& name, const LinearSpec& spec) {
  return {absl::StrCat(name, ".weight"), {spec.out, spec.in}, spec.role};
}

checkpoint::TensorSpec Bias(const std::string& name, const LinearSpec& spec) {
  return {absl::StrCat(name, ".bias"), {spec.out}, checkpoint::TensorRole::kBias};
}

}  // namespace

absl::StatusOr<Linear> Linear::Load(const LoadContext& context, const std::string& name, const LinearSpec& spec) {
  HADAL_ASSIGN_OR_RETURN(checkpoint::LoadedTensor weight, context.loader.Take(Weight(name, spec)));
  checkpoint::LoadedTensor bias;
  if (spec.bias) {
    HADAL_ASSIGN_OR_RETURN(bias, context.loader.Take(Bias(name, spec)));
  }
  return Linear(std::move(weight), std::move(bias));
}

absl::Status Linear::Forward(kernels::Backend& backend, const kernels::TensorView& x,
                             const kernels::TensorView& out) const {
  return backend.Gemm(Product(x, out));
}

absl::StatusOr<MergedLinear> MergedLinear::Load(const LoadContext& context, const std::vector<Part>& parts,
                                                LinearSpec common) {
  MergedLinear merged;
  std::vector<checkpoint::TensorSpec> weights;
  std::vector<checkpoint::TensorSpec> biases;
  for (const Part& part : parts) {
    merged.out_features_ += part.out;
    common.out = part.out;
    if (context.backend.host_accessible()) {
      HADAL_ASSIGN_OR_RETURN(Linear linear, Linear::Load(context, part.name, common));
      merged.parts_.push_back(std::move(linear));
    } else {
      weights.push_back(Weight(part.name, common));
      biases.push_back(Bias(part.name, common));
    }
  }
  if (context.backend.host_accessible()) return merged;
  HADAL_ASSIGN_OR_RETURN(checkpoint::LoadedTensor weight, context.loader.TakeStacked(weights));
  checkpoint::LoadedTensor bias;
  if (common.bias) {
    HADAL_ASSIGN_OR_RETURN(bias, context.loader.TakeStacked(biases));
  }
  merged.parts_.emplace_back(std::move(weight), std::move(bias));
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
