// SPDX-License-Identifier: Apache-2.0
#include "kernels/ops/gemm_silu_mul.h"

#include "absl/strings/str_cat.h"
#include "kernels/ops/check.h"

namespace hadal::kernels {
namespace {

absl::Status CheckHalf(absl::string_view op, absl::string_view name, const TensorView& half,
                       const TensorView& expected) {
  if (half.data == expected.data && half.dtype == expected.dtype && half.sizes == expected.sizes &&
      half.strides == expected.strides) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(op, ": activation.", name, ": expected that half of product.out, ",
                                                 expected.DebugString(), ", found ", half.DebugString()));
}

absl::Status CheckHalves(absl::string_view op, const TensorView& out, const SiluMulParams& activation) {
  if (out.size(1) % 2 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(op, ": product.out: expected an even number of columns, found ", out.DebugString()));
  }
  const int64_t half = out.size(1) / 2;
  return FirstError({CheckHalf(op, "gate", activation.gate, out.Slice(1, 0, half)),
                     CheckHalf(op, "up", activation.up, out.Slice(1, half, half))});
}

}  // namespace

absl::Status CheckGemmSiluMul(const GemmSiluMulParams& p) {
  if (absl::Status s = FirstError({CheckGemm(p.product), CheckSiluMul(p.activation)}); !s.ok()) return s;
  if (p.product.accumulate) {
    return absl::InvalidArgumentError("gemm_silu_mul: product.accumulate: expected false");
  }
  return CheckHalves("gemm_silu_mul", p.product.out, p.activation);
}

absl::Status CheckGroupedGemmSiluMul(const GroupedGemmSiluMulParams& p) {
  if (absl::Status s = FirstError({CheckGroupedGemm(p.product), CheckSiluMul(p.activation)}); !s.ok()) return s;
  return CheckHalves("grouped_gemm_silu_mul", p.product.out, p.activation);
}

}  // namespace hadal::kernels
