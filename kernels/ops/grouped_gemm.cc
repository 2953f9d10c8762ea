// SPDX-License-Identifier: Apache-2.0
#include "kernels/ops/grouped_gemm.h"

#include "kernels/ops/check.h"

namespace hadal::kernels {

absl::Status CheckGroupedGemm(const GroupedGemmParams& p) {
  const char* op = "grouped_gemm";
  if (absl::Status s = FirstError({CheckShape(op, "x", p.x, {kAnySize, kAnySize}), CheckComputeDType(op, "x", p.x)});
      !s.ok()) {
    return s;
  }
  if (absl::Status s = CheckGroupedWeight(op, "w", p.w, p.x.size(1)); !s.ok()) return s;
  return FirstError({CheckContiguous(op, "expert_start", p.expert_start, {p.w.experts() + 1}),
                     CheckDType(op, "expert_start", p.expert_start, DType::kI32),
                     CheckShape(op, "out", p.out, {p.x.size(0), p.w.each.out_features()}),
                     CheckComputeDType(op, "out", p.out)});
}

}  // namespace hadal::kernels
