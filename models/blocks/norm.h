// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/blocks/context.h"

namespace hadal::models {

// How the normalised value meets the weight: rounded to its type first, as in most Hugging Face classes, or in float32
// with one rounding at the end, as DeepSeek-V4 does.
enum class NormProduct { kRounded, kFloat32 };

// Root mean square norm over the last dimension. Immutable once loaded.
class RmsNorm {
 public:
  RmsNorm() = default;
  RmsNorm(checkpoint::LoadedTensor weight, double eps, NormProduct product = NormProduct::kRounded)
      : weight_(std::move(weight)), eps_(static_cast<float>(eps)), product_(product) {}

  // Takes `name`.weight, [width].
  static absl::StatusOr<RmsNorm> Load(const LoadContext& context, const std::string& name, int64_t width, double eps,
                                      NormProduct product = NormProduct::kRounded);

  // out = norm(x); out may be x.
  absl::Status Forward(kernels::Backend& backend, const kernels::TensorView& x, const kernels::TensorView& out) const;

  // x = norm(x), for a fused op that does it among other things.
  kernels::RmsNormParams InPlace(const kernels::TensorView& x) const;

  // residual += delta; out = norm(residual). An absent delta adds nothing. Shapes [tokens, dim].
  absl::Status AddAndForward(kernels::Backend& backend, const kernels::TensorView& delta,
                             const kernels::TensorView& residual, const kernels::TensorView& out) const;

  // residual += delta, and nothing else.
  static absl::Status Add(kernels::Backend& backend, const kernels::TensorView& delta,
                          const kernels::TensorView& residual);

 private:
  checkpoint::LoadedTensor weight_;
  float eps_ = 1e-6f;
  NormProduct product_ = NormProduct::kRounded;
};

// Layer norm over the last dimension. Immutable once loaded.
class LayerNorm {
 public:
  // Takes `name`.weight and `name`.bias, [width].
  static absl::StatusOr<LayerNorm> Load(const LoadContext& context, const std::string& name, int64_t width, double eps);

  // out = norm(x), [rows, dim]; out may be x.
  absl::Status Forward(kernels::Backend& backend, const kernels::TensorView& x, const kernels::TensorView& out) const;

 private:
  checkpoint::LoadedTensor weight_;
  checkpoint::LoadedTensor bias_;
  float eps_ = 1e-6f;
};

}  // namespace hadal::models
