// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/rows.h"

namespace hadal::kernels::cpu {
namespace {

void AppendToken(const KernelTable& table, const TensorView& rows, const TensorView& cache, int64_t token, int64_t slot,
                 float* scratch) {
  const int64_t block = slot / cache.size(1), offset = slot % cache.size(1);
  for (int64_t h = 0; h < rows.size(1); ++h) {
    ConvertRow(table, rows.dtype, Address(rows, token * rows.stride(0) + h * rows.stride(1)), cache.dtype,
               Address(cache, block * cache.stride(0) + offset * cache.stride(1) + h * cache.stride(2)), rows.size(2),
               scratch);
  }
}

}  // namespace

void KvAppend(Context& context, const KvAppendParams& p) {
  const int64_t slots = p.k_cache.size(0) * p.k_cache.size(1);
  const int64_t widest = std::max(p.k.size(2), p.v.present() ? p.v.size(2) : 0);
  context.pool.ParallelFor(p.k.size(0), RowGrain(p.k.size(1) * widest), [&](int64_t begin, int64_t end, int worker) {
    float* scratch = context.worker_scratch[worker].Get<float>(widest);
    for (int64_t t = begin; t < end; ++t) {
      const int64_t slot = p.slot_mapping.dtype == DType::kI64 ? p.slot_mapping.as<const int64_t>()[t]
                                                               : p.slot_mapping.as<const int32_t>()[t];
      if (slot < 0 || slot >= slots) continue;
      AppendToken(context.table, p.k, p.k_cache, t, slot, scratch);
      if (p.v.present()) AppendToken(context.table, p.v, p.v_cache, t, slot, scratch);
    }
  });
}

}  // namespace hadal::kernels::cpu
