// SPDX-License-Identifier: Apache-2.0
// See cuda_runtime.h.
#pragma once

#include "kernels/half.h"

using __nv_bfloat16 = hadal::kernels::BF16;
inline float __bfloat162float(__nv_bfloat16 value) { return hadal::kernels::ToFloat(value); }
inline __nv_bfloat16 __float2bfloat16_rn(float value) { return hadal::kernels::ToBF16(value); }
