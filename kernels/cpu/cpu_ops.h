// SPDX-License-Identifier: Apache-2.0
//
// The CPU ops. Parameters have passed the Check function of the op; contracts are in kernels/ops.
#pragma once

#include "kernels/backend.h"
#include "kernels/cpu/context.h"

namespace hadal::kernels::cpu {

#define HADAL_DECLARE_OP(Op) void Op(Context& context, const Op##Params& params);
HADAL_FOR_EACH_OP(HADAL_DECLARE_OP)
#undef HADAL_DECLARE_OP

}  // namespace hadal::kernels::cpu
