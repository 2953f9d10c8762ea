// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/rows.h"

namespace hadal::kernels::cpu {

void MoePermute(Context& context, const MoePermuteParams& p) {
  const int64_t pairs = p.ids.numel(), top_k = p.ids.size(1), experts = p.expert_start.size(0) - 1;
  const int32_t* ids = p.ids.as<const int32_t>();
  int32_t* start = p.expert_start.as<int32_t>();
  int32_t* row_of = p.row_of.as<int32_t>();
  // Counting sort: sizes, running sum, places in order of the pairs.
  std::fill(start, start + experts + 1, 0);
  for (int64_t i = 0; i < pairs; ++i) ++start[ids[i] + 1];
  for (int64_t e = 0; e < experts; ++e) start[e + 1] += start[e];
  int32_t* next = context.shared_scratch.Get<int32_t>(experts);
  std::copy(start, start + experts, next);
  for (int64_t i = 0; i < pairs; ++i) row_of[i] = next[ids[i]]++;
  const int64_t hidden = p.x.size(1);
  context.pool.ParallelFor(pairs, RowGrain(hidden), [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      ConvertRow(context.table, p.x.dtype, Address(p.x, i / top_k * p.x.stride(0)), p.x.dtype,
                 Address(p.x_sorted, row_of[i] * p.x_sorted.stride(0)), hidden, nullptr);
    }
  });
}

void MoeUnpermute(Context& context, const MoeUnpermuteParams& p) {
  const KernelTable& table = context.table;
  const int64_t top_k = p.row_of.size(1), hidden = p.out.size(1);
  context.pool.ParallelFor(p.out.size(0), RowGrain(hidden * top_k), [&](int64_t begin, int64_t end, int worker) {
    float* sum = context.worker_scratch[worker].Get<float>(2 * hidden + top_k);
    float* row = sum + hidden;
    int32_t* order = reinterpret_cast<int32_t*>(row + hidden);
    for (int64_t t = begin; t < end; ++t) {
      const int32_t* rows = p.row_of.as<const int32_t>() + t * top_k;
      const float* weights = p.weights.as<const float>() + t * top_k;
      for (int64_t j = 0; j < top_k; ++j) order[j] = static_cast<int32_t>(j);
      std::sort(order, order + top_k, [&](int32_t a, int32_t b) { return rows[a] < rows[b]; });
      if (p.addend.present()) {
        table.to_f32(p.addend.dtype, Address(p.addend, t * p.addend.stride(0)), sum, hidden);
      } else {
        std::fill(sum, sum + hidden, 0.0f);
      }
      for (int64_t j = 0; j < top_k; ++j) {
        table.to_f32(p.y_sorted.dtype, Address(p.y_sorted, rows[order[j]] * p.y_sorted.stride(0)), row, hidden);
        table.axpy(weights[order[j]], row, sum, hidden);
      }
      table.from_f32(p.out.dtype, sum, Address(p.out, t * p.out.stride(0)), hidden);
    }
  });
}

}  // namespace hadal::kernels::cpu
