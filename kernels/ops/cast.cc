// SPDX-License-Identifier: Apache-2.0
#include "kernels/ops/cast.h"

#include "absl/strings/str_cat.h"
#include "kernels/ops/check.h"

namespace hadal::kernels {

absl::Status CheckCast(const CastParams& p) {
  const char* op = "cast";
  if (absl::Status s = FirstError({CheckComputeDType(op, "in", p.in), CheckComputeDType(op, "out", p.out)}); !s.ok()) {
    return s;
  }
  bool same = p.in.rank == p.out.rank && p.in.rank > 0;
  for (int i = 0; same && i < p.in.rank; ++i) same = p.in.size(i) == p.out.size(i);
  if (!same) {
    return absl::InvalidArgumentError(
        absl::StrCat("cast: expected one shape, found in ", p.in.DebugString(), ", out ", p.out.DebugString()));
  }
  for (const TensorView* view : {&p.in, &p.out}) {
    if (view->size(view->rank - 1) > 1 && view->stride(view->rank - 1) != 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("cast: expected a dense last dimension, found ", view->DebugString()));
    }
    if (view->numel() > 0 && view->data == nullptr) return absl::InvalidArgumentError("cast: a view has no memory");
  }
  return absl::OkStatus();
}

}  // namespace hadal::kernels
