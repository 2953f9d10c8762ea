// SPDX-License-Identifier: Apache-2.0
// See cuda_runtime.h.
#pragma once

#include "kernels/half.h"

using __half = hadal::kernels::F16;
inline float __half2float(__half value) { return hadal::kernels::ToFloat(value); }
inline __half __float2half_rn(float value) { return hadal::kernels::ToF16(value); }
