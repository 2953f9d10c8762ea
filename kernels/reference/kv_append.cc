// SPDX-License-Identifier: Apache-2.0
#include "kernels/reference/element.h"
#include "kernels/reference/reference_ops.h"

namespace hadal::kernels::reference {
namespace {

void Append(const TensorView& rows, const TensorView& cache, const TensorView& slots) {
  const int64_t block_tokens = cache.size(1);
  for (int64_t t = 0; t < rows.size(0); ++t) {
    const int64_t slot = slots.dtype == DType::kI64 ? slots.as<const int64_t>()[t] : slots.as<const int32_t>()[t];
    if (slot < 0 || slot >= cache.size(0) * block_tokens) continue;
    for (int64_t h = 0; h < rows.size(1); ++h) {
      for (int64_t j = 0; j < rows.size(2); ++j) {
        StoreAt(cache, Offset(cache, slot / block_tokens, slot % block_tokens, h, j), Load(rows, t, h, j));
      }
    }
  }
}

}  // namespace

void KvAppend(const KvAppendParams& p) {
  Append(p.k, p.k_cache, p.slot_mapping);
  if (p.v.present()) Append(p.v, p.v_cache, p.slot_mapping);
}

}  // namespace hadal::kernels::reference
