// SPDX-License-Identifier: Apache-2.0
//
// Whether two kernels agree: what a library's kernel has computed while a model warms up, against the generic one. Host
// arithmetic only.
#pragma once

#include <cstdint>
#include <optional>

#include "kernels/tensor_view.h"

namespace hadal::kernels::cuda {

// Rows that a check compares, at most: the last ones of a call, which see the most keys. The generic kernel is slow.
inline constexpr int64_t kCheckedRows = 32;

struct KernelDifference {
  int64_t index = 0;  // of the value that differs most
  float found = 0, expected = 0;
};

// Nothing when `count` values of `dtype` (bf16, f16) agree: no two are further apart than the type's rounding of
// probabilities explains, relative to the largest expected one (bf16 1/32, f16 1/256), and what is not finite is so in
// both. Else where they differ most.
std::optional<KernelDifference> FindDifference(DType dtype, const void* found, const void* expected, int64_t count);

}  // namespace hadal::kernels::cuda
