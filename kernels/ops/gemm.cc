// SPDX-License-Identifier: Apache-2.0
#include "kernels/ops/gemm.h"

#include "kernels/ops/check.h"

namespace hadal::kernels {

absl::Status CheckGemm(const GemmParams& p) {
  const char* op = "gemm";
  if (absl::Status s = FirstError({CheckShape(op, "x", p.x, {kAnySize, kAnySize}), CheckComputeDType(op, "x", p.x)});
      !s.ok()) {
    return s;
  }
  if (absl::Status s = CheckWeight(op, "w", p.w, {kAnySize, p.x.size(1)}); !s.ok()) return s;
  const int64_t n = p.w.out_features();
  if (p.bias.present()) {
    if (absl::Status s = FirstError({CheckShape(op, "bias", p.bias, {n}), CheckComputeDType(op, "bias", p.bias)});
        !s.ok()) {
      return s;
    }
  }
  return FirstError({CheckShape(op, "out", p.out, {p.x.size(0), n}), CheckComputeDType(op, "out", p.out)});
}

absl::Status CheckBatchedGemm(const BatchedGemmParams& p) {
  const char* op = "batched_gemm";
  if (absl::Status s = FirstError(
          {CheckShape(op, "x", p.x, {kAnySize, kAnySize, kAnySize}), CheckComputeDType(op, "x", p.x),
           CheckShape(op, "out", p.out, {kAnySize, kAnySize, kAnySize}), CheckComputeDType(op, "out", p.out)});
      !s.ok()) {
    return s;
  }
  const int64_t tokens = p.x.size(0), heads = p.x.size(1), k = p.x.size(2), n = p.out.size(2);
  const int64_t rows = p.transpose_w ? k : n, columns = p.transpose_w ? n : k;
  return FirstError(
      {CheckShape(op, "out", p.out, {tokens, heads, n}), CheckWeight(op, "w", p.w, {heads, rows, columns})});
}

}  // namespace hadal::kernels
