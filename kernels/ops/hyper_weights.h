// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/ops/hyper_connection.h"

namespace hadal::kernels {

// The weights of one token's mixing by the formulas of hyper_collapse, from its row of mixes and the reciprocal norm of
// its streams: pre [n], and for a full collapse the token's rows of post and comb. Host memory. The reference and the
// CPU share it: some hundred operations a token, compared with the 2 * (2 + n) * n * n * hidden of the product that
// made the mixes.
void HyperWeights(const HyperCollapseParams& params, int64_t token, float reciprocal_norm, float* pre);

}  // namespace hadal::kernels
