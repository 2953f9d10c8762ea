// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "kernels/backend.h"

namespace hadal::kernels {

// What is known of an op from the type of its parameters.
//
//   OpTraits<GemmParams>::kName     "Gemm"
//   OpTraits<GemmParams>::kMethod   &Backend::Gemm, so (backend.*kMethod)(params) checks and runs it
template <typename Params>
struct OpTraits;

#define HADAL_OP_TRAITS(Op)                                                              \
  template <>                                                                            \
  struct OpTraits<Op##Params> {                                                          \
    static constexpr char kName[] = #Op;                                                 \
    static constexpr absl::Status (Backend::*kMethod)(const Op##Params&) = &Backend::Op; \
  };
HADAL_FOR_EACH_OP(HADAL_OP_TRAITS)
#undef HADAL_OP_TRAITS

// Base of a backend that treats all ops alike: times and forwards them, counts them, refuses them. `Self` has one
// function template for all,
//
//   template <typename Params>
//   absl::Status RunOp(const Params& params);
//
// called with checked parameters. `Base` is Backend or a subclass that lacks only the ops.
template <typename Self, typename Base = Backend>
class UniformBackend : public Base {
 public:
  using Base::Base;

  // It runs no kernels itself.
  bool SupportsWeights(WeightScheme) const override { return true; }

 protected:
#define HADAL_RUN_OP(Op) \
  absl::Status Do##Op(const Op##Params& params) override { return static_cast<Self*>(this)->RunOp(params); }
  HADAL_FOR_EACH_OP(HADAL_RUN_OP)
#undef HADAL_RUN_OP
};

}  // namespace hadal::kernels
