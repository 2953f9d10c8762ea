// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kernels/reference/element.h"
#include "kernels/reference/reference_ops.h"

namespace hadal::kernels::reference {

void SiluMul(const SiluMulParams& p) {
  for (int64_t i = 0; i < p.gate.size(0); ++i) {
    for (int64_t j = 0; j < p.gate.size(1); ++j) {
      const float gate = Load(p.gate, i, j);
      StoreAt(p.out, Offset(p.out, i, j), gate / (1.0f + std::exp(-gate)) * Load(p.up, i, j));
    }
  }
}

}  // namespace hadal::kernels::reference
