// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/norm.h"

#include "absl/strings/str_cat.h"
#include "models/status_macros.h"

namespace hadal::models {

absl::StatusOr<RmsNorm> RmsNorm::Load(const LoadContext& context, const std::string& name, int64_t width, double eps,
                                      NormProduct product) {
  HADAL_ASSIGN_OR_RETURN(checkpoint::LoadedTensor weight,
                         context.loader.Take({absl::StrCat(name, ".weight"), {width}, checkpoint::TensorRole::kNorm}));
  return RmsNorm(std::move(weight), eps, product);
}

absl::Status RmsNorm::Forward(kernels::Backend& backend, const kernels::TensorView& x,
                              const kernels::TensorView& out) const {
  return backend.RmsNorm({.x = x,
                          .weight = weight_.view(),
                          .out = out,
                          .eps = eps_,
                          .float32_product = product_ == NormProduct::kFloat32});
}

kernels::RmsNormParams RmsNorm::InPlace(const kernels::TensorView& x) const {
  return {.x = x,
          .residual = {},
          .weight = weight_.view(),
          .out = x,
          .eps = eps_,
          .float32_product = product_ == NormProduct::kFloat32};
}

absl::Status RmsNorm::AddAndForward(kernels::Backend& backend, const kernels::TensorView& delta,
                                    const kernels::TensorView& residual, const kernels::TensorView& out) const {
  if (!delta.present()) return Forward(backend, residual, out);
  return backend.RmsNorm({.x = delta,
                          .residual = residual,
                          .weight = weight_.view(),
                          .out = out,
                          .eps = eps_,
                          .float32_product = product_ == NormProduct::kFloat32});
}

absl::Status RmsNorm::Add(kernels::Backend& backend, const kernels::TensorView& delta,
                          const kernels::TensorView& residual) {
  return backend.RmsNorm({.x = delta, .residual = residual});
}

absl::StatusOr<LayerNorm> LayerNorm::Load(const LoadContext& context, const std::string& name, int64_t width,
                                          double eps) {
  LayerNorm norm;
  HADAL_ASSIGN_OR_RETURN(norm.weight_,
                         context.loader.Take({absl::StrCat(name, ".weight"), {width}, checkpoint::TensorRole::kNorm}));
  HADAL_ASSIGN_OR_RETURN(norm.bias_,
                         context.loader.Take({absl::StrCat(name, ".bias"), {width}, checkpoint::TensorRole::kBias}));
  norm.eps_ = static_cast<float>(eps);
  return norm;
}

absl::Status LayerNorm::Forward(kernels::Backend& backend, const kernels::TensorView& x,
                                const kernels::TensorView& out) const {
  return backend.LayerNorm({.x = x, .weight = weight_.view(), .bias = bias_.view(), .out = out, .eps = eps_});
}

}  // namespace hadal::models
