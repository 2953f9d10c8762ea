// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/kernel_check.h"

#include <algorithm>
#include <cmath>

#include "kernels/half.h"

namespace hadal::kernels::cuda {
namespace {

float Load(DType dtype, const void* data, int64_t index) {
  if (dtype == DType::kBF16) return ToFloat(static_cast<const BF16*>(data)[index]);
  return ToFloat(static_cast<const F16*>(data)[index]);
}

}  // namespace

std::optional<KernelDifference> FindDifference(DType dtype, const void* found, const void* expected, int64_t count) {
  float largest = 0, worst = 0;
  KernelDifference difference;
  for (int64_t i = 0; i < count; ++i) {
    const float f = Load(dtype, found, i), e = Load(dtype, expected, i);
    if (std::isfinite(f) != std::isfinite(e)) return KernelDifference{i, f, e};
    if (!std::isfinite(e)) continue;
    largest = std::max(largest, std::fabs(e));
    if (std::fabs(f - e) <= worst) continue;
    worst = std::fabs(f - e);
    difference = {i, f, e};
  }
  const float allowed = largest * (dtype == DType::kBF16 ? 1.0f / 32 : 1.0f / 256);
  if (worst <= allowed) return std::nullopt;
  return difference;
}

}  // namespace hadal::kernels::cuda
