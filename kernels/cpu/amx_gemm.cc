// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/amx_gemm.h"

#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "kernels/cpu/avx512_vec.h"

namespace hadal::kernels::cpu {
namespace {

constexpr int64_t kTile = 16;   // rows and columns of a tile of sums
constexpr int64_t kDepth = 32;  // values of k in a tile of factors
constexpr int64_t kTileValues = kTile * kDepth;
constexpr int64_t kTileSums = kTile * kTile;
constexpr int64_t kTileBytes = 64;       // one row of a tile
constexpr int64_t kMaxCopiedDepth = 48;  // tiles of k whose weights are copied together at a time
constexpr int64_t kMinCopiedDepth = 16;
constexpr int64_t kCacheTiles = 768;   // tiles of x that stay in the second-level cache, 1 KiB each
constexpr int64_t kCopyRows = 128;     // from this many rows of x on copying the weights pays
constexpr int64_t kPrefetchTiles = 8;  // how far ahead directly read weights are asked for

struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t column_bytes[16] = {};
  uint8_t rows[16] = {};
};

void ConfigureTiles() {
  TileConfig config;
  for (int t = 0; t < 8; ++t) {
    config.column_bytes[t] = kTileBytes;
    config.rows[t] = kTile;
  }
  _tile_loadconfig(&config);
}

// Columns of a 16 x 16 block of 32-bit values become rows. Inlined, so that the block stays in registers.
[[gnu::always_inline]] inline void Transpose(__m512i (&r)[16]) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xDD);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xDD);
  }
  for (int i = 0; i < 8; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xDD);
  }
}

// The left factor of some tiles: weights as stored, or a copy tile after tile.
struct Weights {
  const BF16* data;
  int64_t row_bytes;   // between rows of a tile
  int64_t tile_step;   // values between tiles along n
  int64_t depth_step;  // values between tiles along k
};

// sums[N tiles of n, M tiles of m] (+)= weights * x over `depth` tiles of k. x tiles lie one after another along k,
// tiles of sums one after another along m with `n_step` floats between those along n.
template <int N, int M>
void TileBlock(const Weights& w, const BF16* x, int64_t x_step, int64_t depth, float* sums, int64_t n_step,
               bool first) {
  if (first) {
    _tile_zero(0);
    if (M > 1) _tile_zero(1);
    if (N > 1) _tile_zero(2);
    if (N > 1 && M > 1) _tile_zero(3);
  } else {
    _tile_loadd(0, sums, kTileBytes);
    if (M > 1) _tile_loadd(1, sums + kTileSums, kTileBytes);
    if (N > 1) _tile_loadd(2, sums + n_step, kTileBytes);
    if (N > 1 && M > 1) _tile_loadd(3, sums + n_step + kTileSums, kTileBytes);
  }
  const BF16* weights = w.data;
  for (int64_t d = 0; d < depth; ++d) {
    _tile_loadd(4, weights, w.row_bytes);
    if (N > 1) _tile_loadd(5, weights + w.tile_step, w.row_bytes);
    _tile_loadd(6, x + d * kTileValues, kTileBytes);
    _tile_dpbf16ps(0, 4, 6);
    if (N > 1) _tile_dpbf16ps(2, 5, 6);
    if (M > 1) {
      _tile_loadd(7, x + x_step + d * kTileValues, kTileBytes);
      _tile_dpbf16ps(1, 4, 7);
      if (N > 1) _tile_dpbf16ps(3, 5, 7);
    }
    if (w.row_bytes != kTileBytes) {
      const char* ahead = reinterpret_cast<const char*>(weights) + kPrefetchTiles * kTileBytes;
      for (int r = 0; r < N * kTile; ++r) _mm_prefetch(ahead + r * w.row_bytes, _MM_HINT_T0);
    }
    weights += w.depth_step;
  }
  _tile_stored(0, sums, kTileBytes);
  if (M > 1) _tile_stored(1, sums + kTileSums, kTileBytes);
  if (N > 1) _tile_stored(2, sums + n_step, kTileBytes);
  if (N > 1 && M > 1) _tile_stored(3, sums + n_step + kTileSums, kTileBytes);
}

// Copies `depth` tiles of k of `tiles` tiles of n, with zeros beyond the matrix.
void CopyWeights(const BF16* w, int64_t ldw, int64_t rows, int64_t values, int64_t tiles, int64_t depth, BF16* out) {
  for (int64_t r = 0; r < tiles * kTile; ++r) {
    BF16* row = out + r / kTile * depth * kTileValues + r % kTile * kDepth;
    for (int64_t d = 0; d < depth; ++d) {
      const int64_t count = r < rows ? std::clamp<int64_t>(values - d * kDepth, 0, kDepth) : 0;
      const __mmask32 lanes = count >= kDepth ? ~0u : (1u << count) - 1;
      _mm512_storeu_si512(row + d * kTileValues, _mm512_maskz_loadu_epi16(lanes, w + r * ldw + d * kDepth));
    }
  }
}

// Asks for a part of the weights that are copied next, a share at a time while tiles are computed: rows far apart are
// beyond the hardware's own prefetching.
struct NextWeights {
  const BF16* data = nullptr;
  int64_t ldw = 0, rows = 0, lines = 0;  // lines of 64 bytes in a row

  // Share `part` of `parts`.
  void Prefetch(int64_t part, int64_t parts) const {
    const int64_t all = rows * lines;
    for (int64_t i = all * part / parts; i < all * (part + 1) / parts; ++i) {
      _mm_prefetch(reinterpret_cast<const char*>(data + i / lines * ldw + i % lines * kDepth), _MM_HINT_T1);
    }
  }
};

// All m of some tiles of n (1 or 2) and k.
void Panel(const Weights& w, int64_t tiles, const BF16* x, int64_t x_step, int64_t x_tiles, int64_t depth, float* sums,
           int64_t n_step, bool first, const NextWeights& next = {}) {
  int64_t t = 0;
  for (; t + 2 <= x_tiles; t += 2) {
    next.Prefetch(t / 2, x_tiles / 2);
    (tiles == 2 ? TileBlock<2, 2> : TileBlock<1, 2>)(w, x + t * x_step, x_step, depth, sums + t * kTileSums, n_step,
                                                     first);
  }
  if (t < x_tiles) {
    (tiles == 2 ? TileBlock<2, 1> : TileBlock<1, 1>)(w, x + t * x_step, x_step, depth, sums + t * kTileSums, n_step,
                                                     first);
  }
}

// c[m, n] = sums[n, m]^T.
void TransposeSums(const float* sums, int64_t n_step, float* c, int64_t ldc, int64_t m, int64_t n) {
  for (int64_t j = 0; j < n; j += kTile) {
    for (int64_t i = 0; i < m; i += kTile) {
      __m512i block[16];
      for (int r = 0; r < 16; ++r) block[r] = _mm512_loadu_si512(sums + j / kTile * n_step + i * kTile + r * kTile);
      Transpose(block);
      const __mmask16 lanes = Avx512Vec::FirstLanes(n - j);
      for (int r = 0; r < std::min<int64_t>(kTile, m - i); ++r) {
        _mm512_mask_storeu_epi32(c + (i + r) * ldc + j, lanes, block[r]);
      }
    }
  }
}

int64_t SumFloats(int64_t m, int64_t n) {
  return (n + 2 * kTile - 1) / (2 * kTile) * (2 * kTile) * ((m + 15) / 16 * 16);
}

}  // namespace

void AmxPack(const BF16* x, int64_t ldx, int64_t m, int64_t k, int64_t begin, int64_t end, BF16* packed) {
  const int64_t depth = (k + kDepth - 1) / kDepth;
  for (int64_t b = begin; b < end; ++b) {
    for (int64_t d = 0; d < depth; ++d) {
      const int64_t count = std::min(kDepth, k - d * kDepth);
      const __mmask32 lanes = count >= kDepth ? ~0u : (1u << count) - 1;
      __m512i rows[16];
      for (int r = 0; r < 16; ++r) {
        const int64_t row = b * kTile + r;
        rows[r] = row < m ? _mm512_maskz_loadu_epi16(lanes, x + row * ldx + d * kDepth) : _mm512_setzero_si512();
      }
      Transpose(rows);  // a pair of values is one 32-bit element
      BF16* out = packed + (b * depth + d) * kTileValues;
      for (int r = 0; r < 16; ++r) _mm512_storeu_si512(out + r * kDepth, rows[r]);
    }
  }
}

int64_t AmxScratchFloats(int64_t m, int64_t n) {
  return SumFloats(std::min(m, kAmxMaxRows), n) + 2 * kMaxCopiedDepth * kTileValues / 2 + 64;
}

void AmxGemm(const BF16* packed, int64_t first_row, int64_t m, int64_t k, const BF16* w, int64_t ldw, int64_t n,
             float* c, int64_t ldc, float* scratch) {
  ConfigureTiles();
  const int64_t depth = (k + kDepth - 1) / kDepth, whole_depth = k / kDepth;
  const int64_t x_tiles = (m + kTile - 1) / kTile, x_step = depth * kTileValues, n_step = x_tiles * kTileSums;
  float* sums = scratch;
  BF16* copy = reinterpret_cast<BF16*>(scratch + SumFloats(m, n));
  const BF16* x = packed + first_row / kTile * x_step;
  const int64_t copied_depth = std::clamp(kCacheTiles / x_tiles, kMinCopiedDepth, kMaxCopiedDepth);
  for (int64_t d = 0; d < depth;) {
    // With few rows of x the weights are used as they lie, all of k at once; the ragged end of k is always copied.
    const bool direct = m < kCopyRows && d < whole_depth;
    const int64_t step = direct ? whole_depth - d : std::min(copied_depth, depth - d);
    for (int64_t j = 0; j < n; j += 2 * kTile) {
      const int64_t rows = std::min(2 * kTile, n - j), tiles = (rows + kTile - 1) / kTile;
      const BF16* weights = w + j * ldw + d * kDepth;
      const BF16* x_part = x + d * kTileValues;
      float* sums_part = sums + j / kTile * n_step;
      if (direct && rows % kTile == 0) {
        Panel({weights, ldw * 2, kTile * ldw, kDepth}, tiles, x_part, x_step, x_tiles, step, sums_part, n_step, d == 0);
        continue;
      }
      for (int64_t s = 0; s < step; s += copied_depth) {
        const int64_t part = std::min(copied_depth, step - s);
        const int64_t next_row = j + 2 * kTile;
        const NextWeights next{weights + s * kDepth + 2 * kTile * ldw, ldw,
                               std::clamp<int64_t>(n - next_row, 0, 2 * kTile), part};
        CopyWeights(weights + s * kDepth, ldw, rows, k - (d + s) * kDepth, tiles, part, copy);
        Panel({copy, kTileBytes, part * kTileValues, kTileValues}, tiles, x_part + s * kTileValues, x_step, x_tiles,
              part, sums_part, n_step, d + s == 0, next);
      }
    }
    d += step;
  }
  TransposeSums(sums, n_step, c, ldc, m, n);
  _tile_release();
}

}  // namespace hadal::kernels::cpu
