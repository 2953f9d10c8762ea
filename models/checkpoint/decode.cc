// SPDX-License-Identifier: Apache-2.0
#include "models/checkpoint/decode.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "kernels/half.h"

namespace hadal::checkpoint {
namespace {

using kernels::BF16;
using kernels::DType;
using kernels::F16;

// Smallest magnitude that rounds to infinity in f16.
constexpr float kF16Overflow = 65520.0f;

template <typename T>
T LoadUnaligned(const std::byte* source) {
  T value;
  std::memcpy(&value, source, sizeof(T));
  return value;
}

bool OverflowsF16(float value) { return std::fabs(value) >= kF16Overflow && std::isfinite(value); }

struct SpanFault {
  int64_t index = 0;
  float value = 0.0f;
};

// Converts `count` values made by `value(i)`. Returns the first that f16 cannot hold.
template <typename Out, typename ValueAt>
std::optional<SpanFault> ConvertSpan(int64_t count, ValueAt value, Out* out) {
  bool overflow = false;
  for (int64_t i = 0; i < count; ++i) {
    const float x = value(i);
    if constexpr (std::is_same_v<Out, F16>) overflow |= OverflowsF16(x);
    out[i] = kernels::FromFloat<Out>(x);
  }
  if (!overflow) return std::nullopt;
  int64_t i = 0;
  while (!OverflowsF16(value(i))) ++i;
  return SpanFault{i, value(i)};
}

template <typename In, typename Out>
std::optional<RangeFault> DecodePlain(const StoredMatrix& matrix, const MatrixPart& part, Out* out) {
  // Whole rows lie end to end.
  const bool whole = part.columns == matrix.columns;
  const int64_t spans = whole ? std::min<int64_t>(1, part.values()) : part.rows;
  const int64_t width = whole ? part.values() : part.columns;
  for (int64_t i = 0; i < spans; ++i, out += width) {
    const std::byte* source =
        matrix.data + ((part.row + i) * matrix.columns + part.column) * static_cast<int64_t>(sizeof(In));
    if constexpr (std::is_same_v<In, Out>) {
      std::memcpy(out, source, static_cast<size_t>(width) * sizeof(In));
    } else {
      auto value = [source](int64_t n) { return kernels::ToFloat(LoadUnaligned<In>(source + n * sizeof(In))); };
      const std::optional<SpanFault> fault = ConvertSpan(width, value, out);
      if (!fault) continue;
      return RangeFault{part.row + i + fault->index / part.columns, part.column + fault->index % part.columns,
                        fault->value};
    }
  }
  return std::nullopt;
}

const std::array<float, 256>& E4M3Table() {
  static const std::array<float, 256> table = [] {
    std::array<float, 256> values;
    for (int i = 0; i < 256; ++i) values[i] = kernels::F8E4M3ToFloat(static_cast<uint8_t>(i));
    return values;
  }();
  return table;
}

template <typename Out>
std::optional<SpanFault> DecodeE4M3Block(const uint8_t* codes, float scale, int64_t width, Out* out) {
  const auto value = [codes, scale, &table = E4M3Table()](int64_t i) { return table[codes[i]] * scale; };
  return ConvertSpan(width, value, out);
}

const std::array<float, 16>& E2M1Table() {
  static const std::array<float, 16> table = [] {
    std::array<float, 16> values;
    for (int i = 0; i < 16; ++i) values[i] = kernels::E2M1ToFloat(static_cast<uint8_t>(i));
    return values;
  }();
  return table;
}

template <typename Out>
std::optional<SpanFault> DecodeE2M1Block(const uint8_t* pairs, float scale, int64_t width, Out* out) {
  const auto code_value = [scale, &table = E2M1Table()](int64_t code) {
    return table[static_cast<size_t>(code)] * scale;
  };
  // The 16 values of this scale first: fewer conversions than values.
  std::array<Out, 16> values;
  if (!ConvertSpan(16, code_value, values.data())) {
    for (int64_t i = 0; i < width / 2; ++i) {
      out[2 * i] = values[pairs[i] & 15u];
      out[2 * i + 1] = values[pairs[i] >> 4];
    }
    return std::nullopt;
  }
  const auto value = [&](int64_t i) { return code_value((i & 1) == 0 ? pairs[i >> 1] & 15u : pairs[i >> 1] >> 4); };
  return ConvertSpan(width, value, out);
}

// Decodes rows block by block: decode(codes, scale, width, out) for each run of `width` values that share a scale, with
// the number of the scale in the matrix.
template <int kValuesPerByte, typename Out, typename DecodeBlock>
std::optional<RangeFault> DecodeBlocks(const StoredMatrix& matrix, const MatrixPart& part, Out* out,
                                       DecodeBlock decode) {
  const int64_t blocks = matrix.columns / matrix.block_columns + (matrix.columns % matrix.block_columns != 0);
  const int64_t end = part.column + part.columns;
  for (int64_t row = part.row; row < part.row + part.rows; ++row) {
    const auto* codes = reinterpret_cast<const uint8_t*>(matrix.data) + row * (matrix.columns / kValuesPerByte);
    const int64_t first_scale = row / matrix.block_rows * blocks;
    for (int64_t column = part.column; column < end;) {
      const int64_t block = column / matrix.block_columns;
      const int64_t width = std::min(end, (block + 1) * matrix.block_columns) - column;
      if (const auto fault = decode(codes + column / kValuesPerByte, first_scale + block, width, out)) {
        return RangeFault{row, column + fault->index, fault->value};
      }
      column += width;
      out += width;
    }
  }
  return std::nullopt;
}

template <typename Out>
std::optional<RangeFault> DecodeTo(const StoredMatrix& matrix, const MatrixPart& part, Out* out) {
  switch (matrix.dtype) {
    case StoredDType::kF32:
      return DecodePlain<float, Out>(matrix, part, out);
    case StoredDType::kF16:
      return DecodePlain<F16, Out>(matrix, part, out);
    case StoredDType::kBF16:
      return DecodePlain<BF16, Out>(matrix, part, out);
    case StoredDType::kI8:
      return DecodeBlocks<2>(matrix, part, out, [&](const uint8_t* pairs, int64_t scale, int64_t width, Out* target) {
        return DecodeE2M1Block(pairs, kernels::E8M0ToFloat(static_cast<uint8_t>(matrix.scale_codes[scale])), width,
                               target);
      });
    default:
      return DecodeBlocks<1>(matrix, part, out, [&](const uint8_t* codes, int64_t scale, int64_t width, Out* target) {
        return DecodeE4M3Block(codes, matrix.scales[scale], width, target);
      });
  }
}

template <typename T>
void TransposeAs(const void* source, int64_t rows, int64_t columns, void* target, int64_t target_stride) {
  constexpr int64_t kTile = 32;
  const T* in = static_cast<const T*>(source);
  T* out = static_cast<T*>(target);
  for (int64_t r0 = 0; r0 < rows; r0 += kTile) {
    for (int64_t c0 = 0; c0 < columns; c0 += kTile) {
      const int64_t r1 = std::min(rows, r0 + kTile);
      const int64_t c1 = std::min(columns, c0 + kTile);
      for (int64_t r = r0; r < r1; ++r) {
        for (int64_t c = c0; c < c1; ++c) out[c * target_stride + r] = in[r * columns + c];
      }
    }
  }
}

}  // namespace

int64_t StoredRowBytes(const StoredMatrix& matrix) {
  return matrix.dtype == StoredDType::kI8 ? matrix.columns / 2 : matrix.columns * StoredDTypeBytes(matrix.dtype);
}

std::optional<RangeFault> DecodePart(const StoredMatrix& matrix, const MatrixPart& part, DType out_dtype, void* out) {
  switch (out_dtype) {
    case DType::kBF16:
      return DecodeTo(matrix, part, static_cast<BF16*>(out));
    case DType::kF16:
      return DecodeTo(matrix, part, static_cast<F16*>(out));
    default:
      return DecodeTo(matrix, part, static_cast<float*>(out));
  }
}

std::vector<float> DecodeScales(StoredDType dtype, const std::byte* data, int64_t count) {
  std::vector<float> scales(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    scales[static_cast<size_t>(i)] = dtype == StoredDType::kF8E8M0 ? kernels::E8M0ToFloat(static_cast<uint8_t>(data[i]))
                                                                   : LoadUnaligned<float>(data + i * sizeof(float));
  }
  return scales;
}

void Transpose(const void* source, int64_t rows, int64_t columns, int64_t element_bytes, void* target,
               int64_t target_stride) {
  element_bytes == 2 ? TransposeAs<uint16_t>(source, rows, columns, target, target_stride)
                     : TransposeAs<uint32_t>(source, rows, columns, target, target_stride);
}

}  // namespace hadal::checkpoint
