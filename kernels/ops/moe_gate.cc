// SPDX-License-Identifier: Apache-2.0
#include "kernels/ops/moe_gate.h"

#include "absl/strings/str_cat.h"
#include "kernels/ops/check.h"

namespace hadal::kernels {

absl::Status CheckMoeGate(const MoeGateParams& p) {
  if (absl::Status s = FirstError({CheckGemm(p.gate), CheckMoeRoute(p.route)}); !s.ok()) return s;
  const TensorView &out = p.gate.out, &logits = p.route.logits;
  if (out.data != logits.data || out.dtype != logits.dtype || out.sizes != logits.sizes ||
      out.strides != logits.strides) {
    return absl::InvalidArgumentError(absl::StrCat("moe_gate: gate.out: expected route.logits ", logits.DebugString(),
                                                   ", found ", out.DebugString()));
  }
  if (p.gate.accumulate) return absl::InvalidArgumentError("moe_gate: gate.accumulate: expected false");
  return absl::OkStatus();
}

}  // namespace hadal::kernels
