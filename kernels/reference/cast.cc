// SPDX-License-Identifier: Apache-2.0
#include "kernels/reference/element.h"
#include "kernels/reference/reference_ops.h"

namespace hadal::kernels::reference {

void Cast(const CastParams& p) {
  for (int64_t flat = 0; flat < p.in.numel(); ++flat) {
    int64_t rest = flat, from = 0, to = 0;
    for (int d = p.in.rank - 1; d >= 0; --d) {
      from += rest % p.in.size(d) * p.in.stride(d);
      to += rest % p.in.size(d) * p.out.stride(d);
      rest /= p.in.size(d);
    }
    StoreAt(p.out, to, LoadAt(p.in, from));
  }
}

}  // namespace hadal::kernels::reference
