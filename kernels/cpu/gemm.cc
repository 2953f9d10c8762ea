// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/gemm_tile.h"
#include "kernels/cpu/rows.h"

namespace hadal::kernels::cpu {

void Gemm(Context& context, const GemmParams& p) {
  const TensorView& w = p.w.values;
  const int64_t m = p.x.size(0), n = w.size(0), k = p.x.size(1);
  if (m == 0 || n == 0) return;
  const PreparedX x = PrepareX(context, p.x, ChooseGemmPath(context, p.x.dtype, w.dtype, k));
  context.pool.ParallelFor(n, ColumnGrain(context, m, n, k), [&](int64_t begin, int64_t end, int worker) {
    GemmTile tile{x, w.Slice(0, begin, end - begin), {}, p.out.Slice(1, begin, end - begin), p.accumulate};
    if (p.bias.present()) tile.bias = p.bias.Slice(0, begin, end - begin);
    RunGemmTile(context, context.worker_scratch[worker], tile);
  });
}

void GroupedGemm(Context& context, const GroupedGemmParams& p) {
  const int64_t n = p.out.size(1), k = p.x.size(1), experts = p.w.experts();
  if (p.x.size(0) == 0 || n == 0) return;
  const int32_t* start = p.expert_start.as<const int32_t>();
  const int64_t mean_rows = std::max<int64_t>(1, (start[experts] - start[0]) / experts);
  const int64_t grain = std::min(n, ColumnGrain(context, mean_rows, n, k));
  const int64_t pieces = (n + grain - 1) / grain;
  context.pool.ParallelFor(experts * pieces, 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t e = item / pieces, column = item % pieces * grain, first = start[e], m = start[e + 1] - first;
      if (m <= 0) continue;
      const TensorView w = p.w.At(e).values;
      const int64_t columns = std::min(grain, n - column);
      // Each piece prepares its expert's rows for itself: few rows an expert, so it costs little next to the product.
      const PreparedX x = PrepareXHere(context.table, p.x.Slice(0, first, m),
                                       ChooseGemmPath(context, p.x.dtype, w.dtype, k), context.worker_scratch2[worker]);
      RunGemmTile(context, context.worker_scratch[worker],
                  {x, w.Slice(0, column, columns), {}, p.out.Slice(0, first, m).Slice(1, column, columns)});
    }
  });
}

}  // namespace hadal::kernels::cpu
