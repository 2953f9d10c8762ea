// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "kernels/cuda/launch.h"

namespace hadal::kernels::cuda {

inline constexpr int64_t kMaxGemvRows = 8;          // of a single product, and of each one of a batch
inline constexpr int64_t kMaxGroupedGemvRows = 64;  // of all experts together

// How the kernel for few rows (gemv.cu) computes a product, or nothing when the product is not for it: too many rows,
// w transposed, types that it has no instance for, rows that do not start at multiples of sixteen bytes. (Experts'
// addresses are on the device; the kernel looks at them itself.) The choice follows sizes and types alone.
std::optional<GemvPlan> PlanGemv(const GenericGemmLaunch& launch, int64_t multiprocessors);

}  // namespace hadal::kernels::cuda
