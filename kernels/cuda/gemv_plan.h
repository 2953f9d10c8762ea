// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "kernels/cuda/launch.h"

namespace hadal::kernels::cuda {

inline constexpr int64_t kMaxGemvRows = 8;          // of a single product, and of each one of a batch
inline constexpr int64_t kMaxGroupedGemvRows = 64;  // of all experts together

// How the kernels for few rows (gemv.cu, and gemv_transposed.cu for a transposed w) compute a product, or nothing when
// the product is not for them: too many rows, types that they have no instance for, rows of w that do not start at
// multiples of sixteen bytes, nor rows of x for a w that is not transposed. (Experts' addresses are on the device; the
// kernel looks at them itself.) The choice follows sizes and types alone.
std::optional<GemvPlan> PlanGemv(const GenericGemmLaunch& launch, int64_t multiprocessors);

}  // namespace hadal::kernels::cuda
