// SPDX-License-Identifier: Apache-2.0
#include "kernels/backend.h"

namespace hadal::kernels {

#define HADAL_CHECK_AND_RUN(Op)                                \
  absl::Status Backend::Op(const Op##Params& params) {         \
    if (absl::Status s = Check##Op(params); !s.ok()) return s; \
    return Do##Op(params);                                     \
  }
HADAL_FOR_EACH_OP(HADAL_CHECK_AND_RUN)
#undef HADAL_CHECK_AND_RUN

}  // namespace hadal::kernels
