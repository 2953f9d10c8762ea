// SPDX-License-Identifier: Apache-2.0
//
// Plain float32 loops, the truth that every backend is tested against. Parameters have passed the Check function of the
// op; contracts are in kernels/ops. Thread-safe for disjoint outputs.
#pragma once

#include "kernels/backend.h"

namespace hadal::kernels::reference {

#define HADAL_DECLARE_OP(Op) void Op(const Op##Params& params);
HADAL_FOR_EACH_OP(HADAL_DECLARE_OP)
#undef HADAL_DECLARE_OP

}  // namespace hadal::kernels::reference
