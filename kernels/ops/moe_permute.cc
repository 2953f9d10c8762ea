// SPDX-License-Identifier: Apache-2.0
#include "kernels/ops/moe_permute.h"

#include "absl/strings/str_cat.h"
#include "kernels/ops/check.h"

namespace hadal::kernels {

absl::Status CheckMoePermute(const MoePermuteParams& p) {
  const char* op = "moe_permute";
  if (absl::Status s = FirstError({CheckContiguous(op, "ids", p.ids, {kAnySize, kAnySize}),
                                   CheckDType(op, "ids", p.ids, DType::kI32), CheckPositive(op, "top_k", p.ids.size(1)),
                                   CheckShape(op, "x", p.x, {p.ids.size(0), kAnySize}), CheckComputeDType(op, "x", p.x),
                                   CheckContiguous(op, "expert_start", p.expert_start, {kAnySize}),
                                   CheckDType(op, "expert_start", p.expert_start, DType::kI32)});
      !s.ok()) {
    return s;
  }
  return FirstError({CheckPositive(op, "experts", p.expert_start.size(0) - 1),
                     CheckShape(op, "x_sorted", p.x_sorted, {p.ids.numel(), p.x.size(1)}),
                     CheckDType(op, "x_sorted", p.x_sorted, p.x.dtype),
                     CheckContiguous(op, "row_of", p.row_of, {p.ids.size(0), p.ids.size(1)}),
                     CheckDType(op, "row_of", p.row_of, DType::kI32)});
}

absl::Status CheckMoeUnpermute(const MoeUnpermuteParams& p) {
  const char* op = "moe_unpermute";
  if (absl::Status s = FirstError({CheckContiguous(op, "row_of", p.row_of, {kAnySize, kAnySize}),
                                   CheckDType(op, "row_of", p.row_of, DType::kI32),
                                   CheckShape(op, "y_sorted", p.y_sorted, {p.row_of.numel(), kAnySize}),
                                   CheckComputeDType(op, "y_sorted", p.y_sorted)});
      !s.ok()) {
    return s;
  }
  const int64_t tokens = p.row_of.size(0), hidden = p.y_sorted.size(1);
  if (p.addend.present()) {
    if (absl::Status s = FirstError(
            {CheckShape(op, "addend", p.addend, {tokens, hidden}), CheckComputeDType(op, "addend", p.addend)});
        !s.ok()) {
      return s;
    }
  }
  return FirstError({CheckContiguous(op, "weights", p.weights, {tokens, p.row_of.size(1)}),
                     CheckDType(op, "weights", p.weights, DType::kF32), CheckShape(op, "out", p.out, {tokens, hidden}),
                     CheckComputeDType(op, "out", p.out)});
}

}  // namespace hadal::kernels
