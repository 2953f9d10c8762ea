// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/gemm_tile.h"

#include <algorithm>

#include "kernels/cpu/rows.h"

namespace hadal::kernels::cpu {
namespace {

constexpr int64_t kRowTile = 64;      // rows of x per inner call: their results stay in the first-level cache
constexpr int64_t kColumnPiece = 64;  // columns per piece at most

// Rounds the float32 results c[rows, n] to the output.
void Finish(const KernelTable& table, const GemmTile& tile, int64_t first_row, int64_t rows, float* c, float* scratch) {
  const int64_t n = tile.w.size(0);
  for (int64_t i = 0; i < rows; ++i) {
    float* sums = c + i * n;
    if (tile.bias.present()) {
      table.to_f32(tile.bias.dtype, tile.bias.data, scratch, n);
      table.add(sums, scratch, sums, n);
    }
    char* out = Address(tile.out, (first_row + i) * tile.out.stride(0));
    if (tile.accumulate) {
      table.to_f32(tile.out.dtype, out, scratch, n);
      table.add(sums, scratch, sums, n);
    }
    table.from_f32(tile.out.dtype, sums, out, n);
  }
}

}  // namespace

bool UsesBf16Kernel(const Context& context, DType x, DType w) {
  return x == DType::kBF16 && w == DType::kBF16 && context.table.gemm_bf16 != nullptr;
}

TensorView PreparedX(Context& context, const TensorView& x, DType w_dtype) {
  if (x.dtype == DType::kF32 || UsesBf16Kernel(context, x.dtype, w_dtype)) return x;
  const int64_t m = x.size(0), k = x.size(1);
  const TensorView copy(context.shared_scratch.Get<float>(m * k), DType::kF32, {m, k});
  context.pool.ParallelFor(m, RowGrain(k), [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      context.table.to_f32(x.dtype, Address(x, i * x.stride(0)), copy.row<float>(i), k);
    }
  });
  return copy;
}

int64_t ColumnGrain(const Context& context, int64_t m, int64_t n, int64_t k) {
  // At least four pieces a worker for balance, and at least 32 K products a piece so that handing out costs nothing.
  const int64_t balanced = n / (4 * context.pool.threads());
  const int64_t worthwhile = 32768 / std::max<int64_t>(1, m * k);
  return std::clamp<int64_t>(balanced, std::clamp<int64_t>(worthwhile, 8, n + 8), std::max(kColumnPiece, worthwhile + 8)) /
         8 * 8;
}

void RunGemmTile(const Context& context, Scratch& scratch, const GemmTile& tile) {
  const KernelTable& table = context.table;
  const int64_t m = tile.x.size(0), n = tile.w.size(0), k = tile.x.size(1);
  if (m == 0 || n == 0) return;
  float* c = scratch.Get<float>((kRowTile + 1) * n);
  for (int64_t i = 0; i < m; i += kRowTile) {
    const int64_t rows = std::min(kRowTile, m - i);
    if (tile.x.dtype == DType::kBF16) {
      table.gemm_bf16(tile.x.row<const BF16>(i), tile.x.stride(0), tile.w.as<const BF16>(), tile.w.stride(0), c, n, rows, n,
                      k);
    } else {
      table.gemm_f32(tile.w.dtype, tile.x.row<const float>(i), tile.x.stride(0), tile.w.data, tile.w.stride(0), c, n, rows,
                     n, k);
    }
    Finish(table, tile, i, rows, c, c + kRowTile * n);
  }
}

}  // namespace hadal::kernels::cpu
