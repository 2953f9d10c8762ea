// SPDX-License-Identifier: Apache-2.0
#include "kernels/ops/grouped_gemm.h"

#include "absl/strings/str_cat.h"
#include "kernels/ops/check.h"

namespace hadal::kernels {

absl::Status CheckGroupedGemm(const GroupedGemmParams& p) {
  const char* op = "grouped_gemm";
  if (absl::Status s = FirstError({CheckShape(op, "x", p.x, {kAnySize, kAnySize}), CheckComputeDType(op, "x", p.x),
                                   CheckContiguous(op, "weights", p.weights, {kAnySize}),
                                   CheckDType(op, "weights", p.weights, DType::kI64)});
      !s.ok()) {
    return s;
  }
  if (!IsComputeDType(p.weight_dtype)) {
    return absl::InvalidArgumentError(
        absl::StrCat("grouped_gemm: weight_dtype: expected f32, bf16 or f16, found ", DTypeName(p.weight_dtype)));
  }
  if (p.weight_row_stride != 0 && p.weight_row_stride < p.x.size(1)) {
    return absl::InvalidArgumentError(absl::StrCat("grouped_gemm: weight_row_stride: expected 0 or at least ",
                                                   p.x.size(1), ", found ", p.weight_row_stride));
  }
  return FirstError({CheckContiguous(op, "expert_start", p.expert_start, {p.weights.size(0) + 1}),
                     CheckDType(op, "expert_start", p.expert_start, DType::kI32),
                     CheckShape(op, "out", p.out, {p.x.size(0), kAnySize}), CheckComputeDType(op, "out", p.out)});
}

}  // namespace hadal::kernels
