// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "kernels/tensor_view.h"

namespace hadal::checkpoint {

// Element types of safetensors files.
enum class StoredDType : uint8_t {
  kF64,
  kF32,
  kF16,
  kBF16,
  kI64,
  kI32,
  kI16,
  kI8,
  kU64,
  kU32,
  kU16,
  kU8,
  kBool,
  kF8E4M3,
  kF8E5M2,
  kF8E8M0
};

// Bytes of one element.
int64_t StoredDTypeBytes(StoredDType dtype);

// The name used in the files: "BF16", "F8_E4M3", ...
const char* StoredDTypeName(StoredDType dtype);

// F32, F16 or BF16.
bool IsPlainFloat(StoredDType dtype);

// The name, and for types that other quantisations use, what reading them would need: for errors.
std::string DescribeStoredDType(StoredDType dtype);

// nullopt for a name that is none of the above.
std::optional<StoredDType> ParseStoredDType(absl::string_view name);

// The same type in the kernels' terms, or nullopt when kernels have no such type.
std::optional<kernels::DType> ToKernelDType(StoredDType dtype);

}  // namespace hadal::checkpoint
