// SPDX-License-Identifier: Apache-2.0
#include "kernels/tensor_view.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"

namespace hadal::kernels {

const char* DTypeName(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "f32";
    case DType::kBF16:
      return "bf16";
    case DType::kF16:
      return "f16";
    case DType::kF8E4M3:
      return "f8_e4m3";
    case DType::kE8M0:
      return "e8m0";
    case DType::kI32:
      return "i32";
    case DType::kI64:
      return "i64";
    case DType::kU8:
      return "u8";
  }
  return "?";
}

std::string TensorView::DebugString() const {
  if (!present()) return "absent";
  const auto list = [this](const std::array<int64_t, kMaxRank>& values) {
    return absl::StrJoin(absl::MakeConstSpan(values.data(), rank), ", ");
  };
  std::string text = absl::StrCat(DTypeName(dtype), " [", list(sizes), "]");
  if (!contiguous()) absl::StrAppend(&text, " strides [", list(strides), "]");
  return text;
}

}  // namespace hadal::kernels
