// SPDX-License-Identifier: Apache-2.0
#include "kernels/reference/element.h"
#include "kernels/reference/reference_ops.h"

namespace hadal::kernels::reference {

void Embedding(const EmbeddingParams& p) {
  for (int64_t t = 0; t < p.ids.size(0); ++t) {
    const int32_t id = p.ids.as<const int32_t>()[t];
    const bool known = id >= 0 && id < p.table.size(0);
    for (int64_t j = 0; j < p.table.size(1); ++j) {
      StoreAt(p.out, Offset(p.out, t, j), known ? Load(p.table, id, j) : 0.0f);
    }
  }
}

}  // namespace hadal::kernels::reference
