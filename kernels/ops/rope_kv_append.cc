// SPDX-License-Identifier: Apache-2.0
#include "kernels/ops/rope_kv_append.h"

#include "absl/strings/str_cat.h"
#include "kernels/ops/check.h"

namespace hadal::kernels {
namespace {

absl::Status CheckPart(const char* name, const TensorView& part, const char* whole_name, const TensorView& whole) {
  if (part.numel() == 0 || ColumnOf(part, whole) >= 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("rope_kv_append: ", name, ": expected columns of ", whole_name, " ",
                                                 whole.DebugString(), ", found ", part.DebugString()));
}

// In place, one norm a head, nothing added first.
absl::Status CheckNorm(const char* name, const RmsNormParams& norm) {
  if (!norm.x.present()) return absl::OkStatus();
  if (absl::Status s = CheckRmsNorm(norm); !s.ok()) return s;
  if (norm.x.rank == 3 && !norm.residual.present() && norm.out.data == norm.x.data && norm.out.dtype == norm.x.dtype &&
      norm.out.stride(0) == norm.x.stride(0) && norm.out.stride(1) == norm.x.stride(1)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "rope_kv_append: ", name, ": expected a norm in place over [tokens, heads, dim] without a residual"));
}

}  // namespace

int64_t ColumnOf(const TensorView& part, const TensorView& whole) {
  if (part.dtype != whole.dtype || part.rank != 3 || whole.rank != 3 || part.size(0) != whole.size(0) ||
      part.size(1) != whole.size(1)) {
    return -1;
  }
  // The stride of a dimension of one has no meaning.
  if ((part.size(0) > 1 && part.stride(0) != whole.stride(0)) ||
      (part.size(1) > 1 && part.stride(1) != whole.stride(1))) {
    return -1;
  }
  const int64_t bytes = reinterpret_cast<intptr_t>(part.data) - reinterpret_cast<intptr_t>(whole.data);
  const int64_t column = bytes / DTypeBytes(part.dtype);
  const bool inside = bytes >= 0 && bytes % DTypeBytes(part.dtype) == 0 && column + part.size(2) <= whole.size(2);
  return inside ? column : -1;
}

absl::Status CheckRopeKvAppend(const RopeKvAppendParams& p) {
  if (absl::Status s = FirstError(
          {CheckNorm("q_norm", p.q_norm), CheckNorm("k_norm", p.k_norm), CheckRope(p.rope), CheckKvAppend(p.append)});
      !s.ok()) {
    return s;
  }
  if (!p.rope.k.present()) return absl::InvalidArgumentError("rope_kv_append: rope.k: expected a tensor, found none");
  if (p.rope.inverse) return absl::InvalidArgumentError("rope_kv_append: rope.inverse: expected false");
  if (p.q_norm.x.present()) {
    if (!p.rope.q.present()) return absl::InvalidArgumentError("rope_kv_append: q_norm: expected none without rope.q");
    if (absl::Status s = CheckPart("rope.q", p.rope.q, "q_norm.x", p.q_norm.x); !s.ok()) return s;
  }
  if (p.k_norm.x.present()) {
    if (absl::Status s = CheckPart("k_norm.x", p.k_norm.x, "append.k", p.append.k); !s.ok()) return s;
  }
  return CheckPart("rope.k", p.rope.k, "append.k", p.append.k);
}

}  // namespace hadal::kernels
