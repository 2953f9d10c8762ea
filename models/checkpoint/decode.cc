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

// Converts `count` values made by `value(i)`. Returns the index of the first that f16 cannot hold, or -1.
template <typename Out, typename ValueAt>
int64_t ConvertSpan(int64_t count, ValueAt value, Out* out) {
  bool overflow = false;
  for (int64_t i = 0; i < count; ++i) {
    const float x = value(i);
    if constexpr (std::is_same_v<Out, F16>) overflow |= OverflowsF16(x);
    out[i] = kernels::FromFloat<Out>(x);
  }
  if (!overflow) return -1;
  int64_t i = 0;
  while (!OverflowsF16(value(i))) ++i;
  return i;
}

template <typename In, typename Out>
std::optional<RangeFault> DecodePlain(const StoredMatrix& matrix, int64_t begin, int64_t count, Out* out) {
  const std::byte* source = matrix.data + begin * matrix.columns * static_cast<int64_t>(sizeof(In));
  const int64_t values = count * matrix.columns;
  if constexpr (std::is_same_v<In, Out>) {
    if (values > 0) std::memcpy(out, source, static_cast<size_t>(values) * sizeof(In));
    return std::nullopt;
  } else {
    auto value = [source](int64_t i) { return kernels::ToFloat(LoadUnaligned<In>(source + i * sizeof(In))); };
    const int64_t fault = ConvertSpan(values, value, out);
    if (fault < 0) return std::nullopt;
    return RangeFault{begin + fault / matrix.columns, fault % matrix.columns, value(fault)};
  }
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
std::optional<RangeFault> DecodeE4M3(const StoredMatrix& matrix, int64_t begin, int64_t count, Out* out) {
  const std::array<float, 256>& table = E4M3Table();
  const int64_t scale_columns = matrix.columns / matrix.block_columns + (matrix.columns % matrix.block_columns != 0);
  for (int64_t row = begin; row < begin + count; ++row) {
    const float* scales = matrix.scales + row / matrix.block_rows * scale_columns;
    const auto* source = reinterpret_cast<const uint8_t*>(matrix.data) + row * matrix.columns;
    Out* target = out + (row - begin) * matrix.columns;
    for (int64_t block = 0; block < scale_columns; ++block) {
      const int64_t first = block * matrix.block_columns;
      const int64_t width = std::min(matrix.block_columns, matrix.columns - first);
      const float scale = scales[block];
      auto value = [&, first, scale](int64_t i) { return table[source[first + i]] * scale; };
      const int64_t fault = ConvertSpan(width, value, target + first);
      if (fault >= 0) return RangeFault{row, first + fault, value(fault)};
    }
  }
  return std::nullopt;
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
std::optional<RangeFault> DecodePackedE2M1(const StoredMatrix& matrix, int64_t begin, int64_t count, Out* out) {
  const std::array<float, 16>& table = E2M1Table();
  const int64_t scale_columns = matrix.columns / matrix.block_columns + (matrix.columns % matrix.block_columns != 0);
  for (int64_t row = begin; row < begin + count; ++row) {
    const std::byte* scales = matrix.scale_codes + row / matrix.block_rows * scale_columns;
    const auto* source = reinterpret_cast<const uint8_t*>(matrix.data) + row * (matrix.columns / 2);
    Out* target = out + (row - begin) * matrix.columns;
    for (int64_t block = 0; block < scale_columns; ++block) {
      const int64_t first = block * matrix.block_columns;
      const int64_t width = std::min(matrix.block_columns, matrix.columns - first);
      const float scale = kernels::E8M0ToFloat(static_cast<uint8_t>(scales[block]));
      const uint8_t* pairs = source + first / 2;
      // The 16 values of this factor first: fewer conversions than values.
      std::array<Out, 16> values;
      auto code_value = [&table, scale](int64_t code) { return table[static_cast<size_t>(code)] * scale; };
      if (ConvertSpan(16, code_value, values.data()) < 0) {
        for (int64_t i = 0; i < width / 2; ++i) {
          target[first + 2 * i] = values[pairs[i] & 15u];
          target[first + 2 * i + 1] = values[pairs[i] >> 4];
        }
        continue;
      }
      auto value = [&, pairs](int64_t i) {
        return code_value((i & 1) == 0 ? pairs[i >> 1] & 15u : pairs[i >> 1] >> 4);
      };
      const int64_t fault = ConvertSpan(width, value, target + first);
      if (fault >= 0) return RangeFault{row, first + fault, value(fault)};
    }
  }
  return std::nullopt;
}

template <typename Out>
std::optional<RangeFault> DecodeTo(const StoredMatrix& matrix, int64_t begin, int64_t count, Out* out) {
  switch (matrix.dtype) {
    case StoredDType::kF32:
      return DecodePlain<float, Out>(matrix, begin, count, out);
    case StoredDType::kF16:
      return DecodePlain<F16, Out>(matrix, begin, count, out);
    case StoredDType::kBF16:
      return DecodePlain<BF16, Out>(matrix, begin, count, out);
    case StoredDType::kI8:
      return DecodePackedE2M1<Out>(matrix, begin, count, out);
    default:
      return DecodeE4M3<Out>(matrix, begin, count, out);
  }
}

template <typename T>
void TransposeAs(const void* source, int64_t rows, int64_t columns, void* target) {
  constexpr int64_t kTile = 32;
  const T* in = static_cast<const T*>(source);
  T* out = static_cast<T*>(target);
  for (int64_t r0 = 0; r0 < rows; r0 += kTile) {
    for (int64_t c0 = 0; c0 < columns; c0 += kTile) {
      const int64_t r1 = std::min(rows, r0 + kTile);
      const int64_t c1 = std::min(columns, c0 + kTile);
      for (int64_t r = r0; r < r1; ++r) {
        for (int64_t c = c0; c < c1; ++c) out[c * rows + r] = in[r * columns + c];
      }
    }
  }
}

}  // namespace

int64_t StoredRowBytes(const StoredMatrix& matrix) {
  return matrix.dtype == StoredDType::kI8 ? matrix.columns / 2 : matrix.columns * StoredDTypeBytes(matrix.dtype);
}

std::optional<RangeFault> DecodeRows(const StoredMatrix& matrix, int64_t begin, int64_t count, DType out_dtype,
                                     void* out) {
  switch (out_dtype) {
    case DType::kBF16:
      return DecodeTo(matrix, begin, count, static_cast<BF16*>(out));
    case DType::kF16:
      return DecodeTo(matrix, begin, count, static_cast<F16*>(out));
    default:
      return DecodeTo(matrix, begin, count, static_cast<float*>(out));
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

void Transpose(const void* source, int64_t rows, int64_t columns, int64_t element_bytes, void* target) {
  element_bytes == 2 ? TransposeAs<uint16_t>(source, rows, columns, target)
                     : TransposeAs<uint32_t>(source, rows, columns, target);
}

}  // namespace hadal::checkpoint
