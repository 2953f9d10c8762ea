// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "kernels/ops/gemm.h"
#include "kernels/ops/moe_route.h"

namespace hadal::kernels {

// The router of a mixture of experts as one op: gemm(gate), then moe_route(route) on what it gives. gate.out is
// route.logits, the same view, and does not accumulate. Both parts keep their contracts; logits are written. Tolerance:
// as for both; ids may differ where choice scores lie within the tolerance of the product.
struct MoeGateParams {
  GemmParams gate;
  MoeRouteParams route;
};

absl::Status CheckMoeGate(const MoeGateParams& params);

}  // namespace hadal::kernels
