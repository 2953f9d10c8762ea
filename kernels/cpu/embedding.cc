// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/rows.h"

namespace hadal::kernels::cpu {

void Embedding(Context& context, const EmbeddingParams& p) {
  const int64_t hidden = p.table.size(1);
  const int32_t* ids = p.ids.as<const int32_t>();
  context.pool.ParallelFor(p.ids.size(0), RowGrain(hidden), [&](int64_t begin, int64_t end, int worker) {
    float* scratch = context.worker_scratch[worker].Get<float>(hidden);
    for (int64_t t = begin; t < end; ++t) {
      char* out = Address(p.out, t * p.out.stride(0));
      if (ids[t] < 0 || ids[t] >= p.table.size(0)) {
        if (hidden > 0) std::memset(out, 0, static_cast<size_t>(hidden * DTypeBytes(p.out.dtype)));
        continue;
      }
      ConvertRow(context.table, p.table.dtype, Address(p.table, ids[t] * p.table.stride(0)), p.out.dtype, out, hidden,
                 scratch);
    }
  });
}

}  // namespace hadal::kernels::cpu
