// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/gemm_tile.h"

#include <algorithm>

#include "kernels/cpu/amx_gemm.h"
#include "kernels/cpu/rows.h"

namespace hadal::kernels::cpu {
namespace {

constexpr int64_t kRowTile = 64;      // rows of x per inner call: their results stay in the first-level cache
constexpr int64_t kColumnPiece = 64;  // columns per piece when weights stream from memory
constexpr int64_t kWidePiece = 256;   // and when they are used for many rows of x
constexpr int64_t kManyRows = 64;
constexpr int64_t kAmxMinDepth = 32;

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

// c[rows, n] = x[rows, k] * w[n, k]^T, but for AMX.
void MultiplyRows(const KernelTable& table, const TensorView& x, const TensorView& w, float* c, int64_t ldc) {
  const int64_t rows = x.size(0), n = w.size(0), k = x.size(1);
  if (x.dtype == DType::kBF16) {
    table.gemm_bf16(x.as<const BF16>(), x.stride(0), w.as<const BF16>(), w.stride(0), c, ldc, rows, n, k);
  } else {
    table.gemm_f32(w.dtype, x.as<const float>(), x.stride(0), w.data, w.stride(0), c, ldc, rows, n, k);
  }
}

void ConvertRows(const KernelTable& table, const TensorView& x, const TensorView& copy, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    table.to_f32(x.dtype, Address(x, i * x.stride(0)), copy.row<float>(i), x.size(1));
  }
}

}  // namespace

PreparedX PreparedX::Slice(int64_t begin, int64_t count) const {
  PreparedX part{rows.Slice(0, begin, count), nullptr};
  if (packed != nullptr) part.packed = packed + AmxPackedSize(begin, rows.size(1));
  return part;
}

GemmPath ChooseGemmPath(const Context& context, DType x, DType w, int64_t k) {
  if (x != DType::kBF16 || w != DType::kBF16 || context.table.gemm_bf16 == nullptr) return GemmPath::kFloat;
  return context.isa == Isa::kAmx && k >= kAmxMinDepth ? GemmPath::kAmx : GemmPath::kBf16;
}

PreparedX PrepareX(Context& context, const TensorView& x, GemmPath path) {
  const int64_t m = x.size(0), k = x.size(1);
  if (path == GemmPath::kAmx) {
    BF16* packed = context.shared_scratch.Get<BF16>(AmxPackedSize(m, k));
    context.pool.ParallelFor((m + 15) / 16, 2, [&](int64_t begin, int64_t end, int) {
      AmxPack(x.as<const BF16>(), x.stride(0), m, k, begin, end, packed);
    });
    return {x, packed};
  }
  if (path == GemmPath::kBf16 || x.dtype == DType::kF32) return {x};
  const TensorView copy(context.shared_scratch.Get<float>(m * k), DType::kF32, {m, k});
  context.pool.ParallelFor(m, RowGrain(k),
                           [&](int64_t begin, int64_t end, int) { ConvertRows(context.table, x, copy, begin, end); });
  return {copy};
}

PreparedX PrepareXHere(const KernelTable& table, const TensorView& x, GemmPath path, Scratch& scratch) {
  const int64_t m = x.size(0), k = x.size(1);
  if (path == GemmPath::kAmx) {
    BF16* packed = scratch.Get<BF16>(AmxPackedSize(m, k));
    AmxPack(x.as<const BF16>(), x.stride(0), m, k, 0, (m + 15) / 16, packed);
    return {x, packed};
  }
  if (path == GemmPath::kBf16 || x.dtype == DType::kF32) return {x};
  const TensorView copy(scratch.Get<float>(m * k), DType::kF32, {m, k});
  ConvertRows(table, x, copy, 0, m);
  return {copy};
}

int64_t ColumnGrain(const Context& context, int64_t m, int64_t n, int64_t k) {
  // At least four pieces a worker for balance, and at least 32 K products a piece so that handing out costs nothing.
  const int64_t balanced = n / (4 * context.pool.threads());
  const int64_t worthwhile = std::clamp<int64_t>(32768 / std::max<int64_t>(1, m * k), 32, n + 32);
  const int64_t most = std::max(worthwhile, m >= kManyRows ? kWidePiece : kColumnPiece);
  return std::clamp(balanced, worthwhile, most) / 32 * 32;
}

void RunGemmTile(const Context& context, Scratch& scratch, const GemmTile& tile) {
  const KernelTable& table = context.table;
  const TensorView& x = tile.x.rows;
  const int64_t m = x.size(0), n = tile.w.size(0), k = x.size(1);
  if (m == 0 || n == 0) return;
  const bool amx = tile.x.packed != nullptr;
  const int64_t row_tile = std::min(m, amx ? kAmxMaxRows : kRowTile);
  float* c = scratch.Get<float>((row_tile + 1) * n + (amx ? AmxScratchFloats(row_tile, n) : 0));
  float* more = c + row_tile * n;
  for (int64_t i = 0; i < m; i += row_tile) {
    const int64_t rows = std::min(row_tile, m - i);
    if (amx) {
      AmxGemm(tile.x.packed, i, rows, k, tile.w.as<const BF16>(), tile.w.stride(0), n, c, n, more);
    } else {
      MultiplyRows(table, x.Slice(0, i, rows), tile.w, c, n);
    }
    Finish(table, tile, i, rows, c, more);
  }
}

void MultiplyTile(const Context& context, Scratch& scratch, const PreparedX& x, const TensorView& w, float* c,
                  int64_t ldc) {
  const KernelTable& table = context.table;
  const int64_t m = x.rows.size(0), n = w.size(0), k = x.rows.size(1);
  if (m == 0 || n == 0) return;
  const int64_t row_tile = std::min(m, x.packed != nullptr ? kAmxMaxRows : kRowTile);
  float* more = x.packed != nullptr ? scratch.Get<float>(AmxScratchFloats(row_tile, n)) : nullptr;
  for (int64_t i = 0; i < m; i += row_tile) {
    const int64_t rows = std::min(row_tile, m - i);
    if (x.packed != nullptr) {
      AmxGemm(x.packed, i, rows, k, w.as<const BF16>(), w.stride(0), n, c + i * ldc, ldc, more);
    } else {
      MultiplyRows(table, x.rows.Slice(0, i, rows), w, c + i * ldc, ldc);
    }
  }
}

}  // namespace hadal::kernels::cpu
