// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/blocks/context.h"

namespace hadal::models {

// One linear per expert, for rows that are sorted by expert. Each matrix stays where the loader put it (on the CPU
// inside the mapped checkpoint); the op gets their addresses. With several names an expert's outputs lie side by side,
// as in MergedLinear. Immutable once loaded; the backend must outlive it.
class GroupedLinear {
 public:
  // The matrices of one expert: [out, in] each.
  struct Shape {
    int64_t experts = 0;
    int64_t out = 0;
    int64_t in = 0;
  };

  // Takes `prefix`.E.`part`.weight for every expert E and every part.
  static absl::StatusOr<GroupedLinear> Load(const LoadContext& context, const std::string& prefix,
                                            const std::vector<std::string>& parts, const Shape& shape);

  // x [rows, in], expert_start i32 [experts + 1], out [rows, sum of the parts' outputs].
  absl::Status Forward(kernels::Backend& backend, const kernels::TensorView& x, const kernels::TensorView& expert_start,
                       const kernels::TensorView& out) const;

  // The product that Forward is, where an expert's matrices became one; else nothing. For a fused op.
  std::optional<kernels::GroupedGemmParams> Product(const kernels::TensorView& x,
                                                    const kernels::TensorView& expert_start,
                                                    const kernels::TensorView& out) const {
    if (parts_.size() != 1) return std::nullopt;
    return kernels::GroupedGemmParams{.x = x, .expert_start = expert_start, .w = parts_[0], .out = out};
  }

 private:
  // Puts the addresses of each part's weights on the device and fills parts_.
  absl::Status ListAddresses(kernels::Backend& backend, const std::vector<std::vector<kernels::WeightView>>& parts);

  std::vector<checkpoint::LoadedTensor> weights_;
  kernels::Buffer addresses_;
  std::vector<kernels::GroupedWeightView> parts_;  // their lists lie in addresses_
};

}  // namespace hadal::models
