// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/gemm_tile.h"
#include "kernels/cpu/rows.h"

namespace hadal::kernels::cpu {
namespace {

constexpr int64_t kRowTile = 32;
constexpr int64_t kColumnTile = 256;

// The [tokens, width] matrix of head h of a [tokens, heads, width] view.
TensorView Head(const TensorView& view, int64_t h) {
  TensorView v = view.Slice(1, h, 1);
  v.rank = 2;
  v.sizes = {view.size(0), view.size(2)};
  v.strides = {view.stride(0), 1};
  return v;
}

// out[rows, n] = x[rows, k] * w[k, n] for some columns: w is widened once and used for all rows.
void TransposedTile(const KernelTable& table, Scratch& scratch, const TensorView& x, const TensorView& w,
                    const TensorView& out) {
  const int64_t m = x.size(0), k = x.size(1), n = w.size(1);
  float* wide = scratch.Get<float>(k * n + kRowTile * (k + n));
  float* rows = wide + k * n;
  float* sums = rows + kRowTile * k;
  for (int64_t l = 0; l < k; ++l) table.to_f32(w.dtype, Address(w, l * w.stride(0)), wide + l * n, n);
  for (int64_t i = 0; i < m; i += kRowTile) {
    const int64_t count = std::min(kRowTile, m - i);
    for (int64_t r = 0; r < count; ++r) table.to_f32(x.dtype, Address(x, (i + r) * x.stride(0)), rows + r * k, k);
    std::fill(sums, sums + count * n, 0.0f);
    table.gemm_nn(rows, k, wide, n, sums, n, count, n, k);
    for (int64_t r = 0; r < count; ++r) {
      table.from_f32(out.dtype, sums + r * n, Address(out, (i + r) * out.stride(0)), n);
    }
  }
}

// out[rows, n] = x[rows, k] * w[n, k]^T for some columns.
void PlainTile(const Context& context, Scratch& scratch, Scratch& x_scratch, const TensorView& x, const TensorView& w,
               const TensorView& out) {
  const GemmPath path = ChooseGemmPath(context, x.dtype, w.dtype, x.size(1));
  RunGemmTile(context, scratch, {PrepareXHere(context.table, x, path, x_scratch), w, {}, out});
}

}  // namespace

void BatchedGemm(Context& context, const BatchedGemmParams& p) {
  const TensorView& w = p.w.values;
  const int64_t heads = p.x.size(1), n = p.out.size(2);
  if (p.x.size(0) == 0 || n == 0) return;
  const int64_t pieces = (n + kColumnTile - 1) / kColumnTile;
  context.pool.ParallelFor(heads * pieces, 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t h = item / pieces, column = item % pieces * kColumnTile;
      const int64_t columns = std::min(kColumnTile, n - column);
      const TensorView out = Head(p.out, h).Slice(1, column, columns);
      Scratch& scratch = context.worker_scratch[worker];
      if (p.transpose_w) {
        TransposedTile(context.table, scratch, Head(p.x, h), w.At(h).Slice(1, column, columns), out);
      } else {
        PlainTile(context, scratch, context.worker_scratch2[worker], Head(p.x, h), w.At(h).Slice(0, column, columns),
                  out);
      }
    }
  });
}

}  // namespace hadal::kernels::cpu
