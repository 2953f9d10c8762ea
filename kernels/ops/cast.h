// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "kernels/tensor_view.h"

namespace hadal::kernels {

// out = round(in), a strided copy with a change of type between f32, bf16 and f16. Same shape, any rank up to 4,
// strides free except the last. No overlap, except out = in with the same type and strides. Exact (round to nearest
// even).
struct CastParams {
  TensorView in;
  TensorView out;  // written
};

absl::Status CheckCast(const CastParams& params);

}  // namespace hadal::kernels
