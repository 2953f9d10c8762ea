// SPDX-License-Identifier: Apache-2.0
#include "kernels/backend.h"

#include "absl/strings/str_cat.h"

namespace hadal::kernels {
namespace {

WeightScheme SchemeOf(const WeightView& weight) { return weight.scheme; }
WeightScheme SchemeOf(const GroupedWeightView& weight) { return weight.each.scheme; }

// For all ops at once, so that no kernel meets a scheme that it does not know.
template <typename Params>
absl::Status CheckSupport(const Backend& backend, absl::string_view op, const Params& params) {
  if constexpr (requires { SchemeOf(params.w); }) {
    const WeightScheme scheme = SchemeOf(params.w);
    if (!backend.SupportsWeights(scheme)) {
      return absl::UnimplementedError(absl::StrCat("backend ", backend.name(), ": ", op,
                                                   " has no kernel for weights of scheme ", WeightSchemeName(scheme)));
    }
  }
  if constexpr (requires { params.product.w; }) return CheckSupport(backend, op, params.product);
  if constexpr (requires { params.gate.w; }) return CheckSupport(backend, op, params.gate);
  return absl::OkStatus();
}

}  // namespace

#define HADAL_CHECK_AND_RUN(Op)                                               \
  absl::Status Backend::Op(const Op##Params& params) {                        \
    if (absl::Status s = Check##Op(params); !s.ok()) return s;                \
    if (absl::Status s = CheckSupport(*this, #Op, params); !s.ok()) return s; \
    return Do##Op(params);                                                    \
  }
HADAL_FOR_EACH_OP(HADAL_CHECK_AND_RUN)
HADAL_FOR_EACH_FUSED_OP(HADAL_CHECK_AND_RUN)
#undef HADAL_CHECK_AND_RUN

absl::Status Backend::DoRopeKvAppend(const RopeKvAppendParams& p) {
  for (const RmsNormParams* norm : {&p.q_norm, &p.k_norm}) {
    if (!norm->x.present()) continue;
    if (absl::Status s = RmsNorm(*norm); !s.ok()) return s;
  }
  if (absl::Status s = Rope(p.rope); !s.ok()) return s;
  return KvAppend(p.append);
}

absl::Status Backend::DoGemmSiluMul(const GemmSiluMulParams& p) {
  if (absl::Status s = Gemm(p.product); !s.ok()) return s;
  return SiluMul(p.activation);
}

absl::Status Backend::DoGroupedGemmSiluMul(const GroupedGemmSiluMulParams& p) {
  if (absl::Status s = GroupedGemm(p.product); !s.ok()) return s;
  return SiluMul(p.activation);
}

absl::Status Backend::DoMoeGate(const MoeGateParams& p) {
  if (absl::Status s = Gemm(p.gate); !s.ok()) return s;
  return MoeRoute(p.route);
}

}  // namespace hadal::kernels
