// SPDX-License-Identifier: Apache-2.0
#include "models/checkpoint/stored_dtype.h"

namespace hadal::checkpoint {
namespace {

struct Row {
  StoredDType dtype;
  const char* name;
  int64_t bytes;
};

// In the order of the enumerators.
constexpr Row kRows[] = {
    {StoredDType::kF64, "F64", 8},        {StoredDType::kF32, "F32", 4},        {StoredDType::kF16, "F16", 2},
    {StoredDType::kBF16, "BF16", 2},      {StoredDType::kI64, "I64", 8},        {StoredDType::kI32, "I32", 4},
    {StoredDType::kI16, "I16", 2},        {StoredDType::kI8, "I8", 1},          {StoredDType::kU64, "U64", 8},
    {StoredDType::kU32, "U32", 4},        {StoredDType::kU16, "U16", 2},        {StoredDType::kU8, "U8", 1},
    {StoredDType::kBool, "BOOL", 1},      {StoredDType::kF8E4M3, "F8_E4M3", 1}, {StoredDType::kF8E5M2, "F8_E5M2", 1},
    {StoredDType::kF8E8M0, "F8_E8M0", 1},
};

}  // namespace

int64_t StoredDTypeBytes(StoredDType dtype) { return kRows[static_cast<size_t>(dtype)].bytes; }

const char* StoredDTypeName(StoredDType dtype) { return kRows[static_cast<size_t>(dtype)].name; }

bool IsPlainFloat(StoredDType dtype) {
  return dtype == StoredDType::kF32 || dtype == StoredDType::kF16 || dtype == StoredDType::kBF16;
}

std::string DescribeStoredDType(StoredDType dtype) {
  std::string text = StoredDTypeName(dtype);
  switch (dtype) {
    case StoredDType::kF8E5M2:
      return text + " (a decoder for E5M2 would be needed; DeepSeek's FP8 is E4M3)";
    case StoredDType::kI8:
      return text + " (packed FP4 is read for routed experts only)";
    case StoredDType::kU8:
    case StoredDType::kI32:
      return text + " (packed formats such as AWQ, GPTQ, MXFP4 or NVFP4 would need readers of their own)";
    default:
      return text;
  }
}

std::optional<StoredDType> ParseStoredDType(absl::string_view name) {
  for (const Row& row : kRows) {
    if (name == row.name) return row.dtype;
  }
  return std::nullopt;
}

std::optional<kernels::DType> ToKernelDType(StoredDType dtype) {
  switch (dtype) {
    case StoredDType::kF32:
      return kernels::DType::kF32;
    case StoredDType::kF16:
      return kernels::DType::kF16;
    case StoredDType::kBF16:
      return kernels::DType::kBF16;
    case StoredDType::kI64:
      return kernels::DType::kI64;
    case StoredDType::kI32:
      return kernels::DType::kI32;
    case StoredDType::kU8:
      return kernels::DType::kU8;
    case StoredDType::kF8E4M3:
      return kernels::DType::kF8E4M3;
    case StoredDType::kF8E8M0:
      return kernels::DType::kE8M0;
    default:
      return std::nullopt;
  }
}

}  // namespace hadal::checkpoint
