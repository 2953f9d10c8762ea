// SPDX-License-Identifier: Apache-2.0
#include "kernels/ops/rope.h"

#include "absl/strings/str_cat.h"
#include "kernels/ops/check.h"

namespace hadal::kernels {
namespace {

absl::Status CheckRotated(const char* name, const TensorView& view, const RopeParams& p) {
  if (!view.present()) return absl::OkStatus();
  if (absl::Status s = FirstError({CheckShape("rope", name, view, {p.positions.size(0), kAnySize, kAnySize}),
                                   CheckComputeDType("rope", name, view)});
      !s.ok()) {
    return s;
  }
  if (view.size(2) < 2 * p.cos.size(1)) {
    return absl::InvalidArgumentError(absl::StrCat("rope: ", name, ": expected a last dimension of at least ",
                                                   2 * p.cos.size(1), ", found ", view.DebugString()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckRope(const RopeParams& p) {
  const char* op = "rope";
  if (absl::Status s = FirstError({CheckContiguous(op, "positions", p.positions, {kAnySize}),
                                   CheckDType(op, "positions", p.positions, DType::kI32),
                                   CheckContiguous(op, "cos", p.cos, {kAnySize, kAnySize}),
                                   CheckDType(op, "cos", p.cos, DType::kF32)});
      !s.ok()) {
    return s;
  }
  return FirstError({CheckContiguous(op, "sin", p.sin, {p.cos.size(0), p.cos.size(1)}),
                     CheckDType(op, "sin", p.sin, DType::kF32), CheckRotated("q", p.q, p), CheckRotated("k", p.k, p)});
}

}  // namespace hadal::kernels
