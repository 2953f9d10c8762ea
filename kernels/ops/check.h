// SPDX-License-Identifier: Apache-2.0
//
// Building blocks of the Check<Op> functions: each returns InvalidArgument that names the op, the view, what was
// expected and what was found.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "kernels/tensor_view.h"
#include "kernels/weight_view.h"

namespace hadal::kernels {

inline constexpr int64_t kAnySize = -1;

// `view` is present with this rank and these sizes (kAnySize: any), and its last dimension is dense.
absl::Status CheckShape(absl::string_view op, absl::string_view name, const TensorView& view,
                        std::initializer_list<int64_t> sizes);
// The same, and the view must be contiguous.
absl::Status CheckContiguous(absl::string_view op, absl::string_view name, const TensorView& view,
                             std::initializer_list<int64_t> sizes);
absl::Status CheckDType(absl::string_view op, absl::string_view name, const TensorView& view, DType dtype);
// One of f32, bf16, f16.
absl::Status CheckComputeDType(absl::string_view op, absl::string_view name, const TensorView& view);
// `weight` has values of these sizes, as CheckShape, and values and scales are what its scheme asks for:
//
//   kPlain: values f32, bf16 or f16; no scales
//
// Errors name the values `name` and the scales `name`.scales.
absl::Status CheckWeight(absl::string_view op, absl::string_view name, const WeightView& weight,
                         std::initializer_list<int64_t> sizes);
// The same of each expert's weight [out, in_features], and a list of addresses for its values and, where it has them,
// its scales: `name`.each, `name`.values, `name`.scales.
absl::Status CheckGroupedWeight(absl::string_view op, absl::string_view name, const GroupedWeightView& weight,
                                int64_t in_features);
absl::Status CheckPositive(absl::string_view op, absl::string_view name, int64_t value);

// The first that fails, or OK.
absl::Status FirstError(std::initializer_list<absl::Status> statuses);

}  // namespace hadal::kernels
