// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "kernels/ops/gemm.h"
#include "kernels/ops/grouped_gemm.h"
#include "kernels/ops/silu_mul.h"

namespace hadal::kernels {

// The first half of a SwiGLU as one op: gemm(product), then silu_mul(activation) on the two halves of what it gives,
// gate columns first. activation.gate and .up are those halves of product.out; the product does not accumulate. Both
// parts keep their contracts: product.out is written, and activation.out may be its gate half. Tolerance: as for both;
// a half type's error of gate or up passes into the product of the two.
struct GemmSiluMulParams {
  GemmParams product;
  SiluMulParams activation;
};

absl::Status CheckGemmSiluMul(const GemmSiluMulParams& params);

// The same of experts. Rows outside the experts' are not products; what silu_mul makes of them is unspecified.
struct GroupedGemmSiluMulParams {
  GroupedGemmParams product;
  SiluMulParams activation;
};

absl::Status CheckGroupedGemmSiluMul(const GroupedGemmSiluMulParams& params);

}  // namespace hadal::kernels
