// SPDX-License-Identifier: Apache-2.0
#include "kernels/ops/dequant_fp8.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "kernels/half.h"
#include "kernels/ops/check.h"

namespace hadal::kernels {
namespace {

// All 256 codes, so that the inner loop is a lookup and a product.
const std::array<float, 256>& F8Table() {
  static const std::array<float, 256> table = [] {
    std::array<float, 256> values{};
    for (int i = 0; i < 256; ++i) values[i] = F8E4M3ToFloat(static_cast<uint8_t>(i));
    return values;
  }();
  return table;
}

float Scale(const TensorView& scale, int64_t row, int64_t column) {
  const int64_t index = row * scale.stride(0) + column;
  return scale.dtype == DType::kF32 ? scale.as<const float>()[index] : E8M0ToFloat(scale.as<const uint8_t>()[index]);
}

template <typename T>
void Rows(const DequantFp8Params& p, int64_t begin_row, int64_t end_row) {
  const std::array<float, 256>& table = F8Table();
  const int64_t columns = p.q.size(1);
  for (int64_t i = begin_row; i < end_row; ++i) {
    const uint8_t* q = p.q.row<const uint8_t>(i);
    T* out = p.out.row<T>(i);
    for (int64_t block = 0; block * p.block < columns; ++block) {
      const float scale = Scale(p.scale, i / p.block, block);
      const int64_t end = std::min(columns, (block + 1) * p.block);
      for (int64_t j = block * p.block; j < end; ++j) out[j] = FromFloat<T>(table[q[j]] * scale);
    }
  }
}

}  // namespace

absl::Status CheckDequantFp8(const DequantFp8Params& p) {
  const char* op = "dequant_fp8";
  if (absl::Status s = FirstError({CheckPositive(op, "block", p.block), CheckShape(op, "q", p.q, {kAnySize, kAnySize}),
                                   CheckDType(op, "q", p.q, DType::kF8E4M3)});
      !s.ok()) {
    return s;
  }
  if (p.scale.dtype != DType::kE8M0 && p.scale.dtype != DType::kF32) {
    return absl::InvalidArgumentError(
        absl::StrCat("dequant_fp8: scale: expected f32 or e8m0, found ", p.scale.DebugString()));
  }
  const auto blocks = [&](int64_t n) { return n / p.block + (n % p.block != 0 ? 1 : 0); };
  return FirstError({CheckShape(op, "scale", p.scale, {blocks(p.q.size(0)), blocks(p.q.size(1))}),
                     CheckShape(op, "out", p.out, {p.q.size(0), p.q.size(1)}), CheckComputeDType(op, "out", p.out)});
}

absl::Status DequantFp8(const DequantFp8Params& params) { return DequantFp8Rows(params, 0, params.q.size(0)); }

absl::Status DequantFp8Rows(const DequantFp8Params& p, int64_t begin_row, int64_t end_row) {
  if (absl::Status s = CheckDequantFp8(p); !s.ok()) return s;
  if (begin_row < 0 || begin_row > end_row || end_row > p.q.size(0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("dequant_fp8: expected rows within 0..", p.q.size(0), ", found ", begin_row, "..", end_row));
  }
  switch (p.out.dtype) {
    case DType::kF32:
      Rows<float>(p, begin_row, end_row);
      break;
    case DType::kBF16:
      Rows<BF16>(p, begin_row, end_row);
      break;
    default:
      Rows<F16>(p, begin_row, end_row);
      break;
  }
  return absl::OkStatus();
}

}  // namespace hadal::kernels
