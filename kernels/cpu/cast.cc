// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/rows.h"

namespace hadal::kernels::cpu {
namespace {

// Offset of row `index`, where the rows are counted over all dimensions but the last.
int64_t RowOffset(const TensorView& view, int64_t index) {
  int64_t offset = 0;
  for (int d = view.rank - 2; d >= 0; --d) {
    offset += index % view.size(d) * view.stride(d);
    index /= view.size(d);
  }
  return offset;
}

}  // namespace

void Cast(Context& context, const CastParams& p) {
  const int64_t n = p.in.size(p.in.rank - 1);
  if (p.in.numel() == 0) return;
  context.pool.ParallelFor(p.in.numel() / n, RowGrain(n), [&](int64_t begin, int64_t end, int worker) {
    float* scratch = context.worker_scratch[worker].Get<float>(n);
    for (int64_t i = begin; i < end; ++i) {
      ConvertRow(context.table, p.in.dtype, Address(p.in, RowOffset(p.in, i)), p.out.dtype,
                 Address(p.out, RowOffset(p.out, i)), n, scratch);
    }
  });
}

}  // namespace hadal::kernels::cpu
