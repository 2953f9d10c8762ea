// SPDX-License-Identifier: Apache-2.0
//
// Plain constants, so that device code can include them.
#pragma once

#include <cstdint>

namespace hadal::kernels {

// Status of a row of a sample call.
inline constexpr int32_t kSampleOk = 0;
inline constexpr int32_t kSampleBadLogits = 1;       // NaN, +infinity, or no finite logit
inline constexpr int32_t kSampleNothingAllowed = 2;  // mask and biases forbid every token

}  // namespace hadal::kernels
