// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/blocks/context.h"

namespace hadal::models {

// What a linear is, apart from its name: W [out, in].
struct LinearSpec {
  int64_t out = 0;
  int64_t in = 0;
  bool bias = false;
  checkpoint::TensorRole role = checkpoint::TensorRole::kMatrix;
};

// y = x * W^T (+ bias), W [out, in] as in the checkpoint. Immutable once loaded; copies share the weights.
class Linear {
 public:
  Linear() = default;
  explicit Linear(checkpoint::LoadedTensor weight, checkpoint::LoadedTensor bias = {})
      : weight_(std::move(weight)), bias_(std::move(bias)) {}

  // Takes `name`.weight and, with a bias, `name`.bias.
  static absl::StatusOr<Linear> Load(const LoadContext& context, const std::string& name, const LinearSpec& spec);

  // x [rows, in], out [rows, out]; row strides are free.
  absl::Status Forward(kernels::Backend& backend, const kernels::TensorView& x, const kernels::TensorView& out) const;

  // The same, for a fused op that does it among other things.
  kernels::GemmParams Product(const kernels::TensorView& x, const kernels::TensorView& out) const {
    return {.x = x, .w = weight_.weight, .bias = bias_.view(), .out = out};
  }

  int64_t out_features() const { return weight_.weight.out_features(); }
  const kernels::WeightView& weight() const { return weight_.weight; }

 private:
  checkpoint::LoadedTensor weight_;
  checkpoint::LoadedTensor bias_;  // absent view when there is none
};

// Several linears of one input whose outputs lie side by side: q, k and v, or gate and up. Where weights can be used in
// place (host-accessible backends) each stays in the mapped file and gets its own product; elsewhere they become one
// matrix and one product. The output is the same either way.
class MergedLinear {
 public:
  // One of the merged linears: its name and its own outputs.
  struct Part {
    std::string name;
    int64_t out = 0;
  };

  // `common`: what the parts share; its `out` is not read.
  static absl::StatusOr<MergedLinear> Load(const LoadContext& context, const std::vector<Part>& parts,
                                           LinearSpec common);

  // x [rows, in], out [rows, sum of the outputs].
  absl::Status Forward(kernels::Backend& backend, const kernels::TensorView& x, const kernels::TensorView& out) const;

  // The product that Forward is, where the linears became one matrix; else nothing. For a fused op.
  std::optional<kernels::GemmParams> Product(const kernels::TensorView& x, const kernels::TensorView& out) const {
    if (parts_.size() != 1) return std::nullopt;
    return parts_[0].Product(x, out);
  }

  int64_t out_features() const { return out_features_; }

 private:
  std::vector<Linear> parts_;
  int64_t out_features_ = 0;
};

}  // namespace hadal::models
