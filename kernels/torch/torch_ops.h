// SPDX-License-Identifier: Apache-2.0
//
// The ops on libtorch. Parameters have passed the Check function of the op; contracts are in kernels/ops. A failure is
// an exception of libtorch, which the backend catches. Work is queued on libtorch's current stream of the device.
#pragma once

#include <c10/core/Device.h>

#include "kernels/backend.h"

namespace hadal::kernels::torch {

#define HADAL_DECLARE_OP(Op) void Op(const at::Device& device, const Op##Params& params);
HADAL_FOR_EACH_OP(HADAL_DECLARE_OP)
#undef HADAL_DECLARE_OP

}  // namespace hadal::kernels::torch
