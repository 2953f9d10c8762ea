// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

namespace hadal::kernels {

// Element types. Arithmetic types are kF32, kBF16 and kF16; kF8E4M3 and kE8M0
// appear only as stored weights and scales.
enum class DType : uint8_t { kF32, kBF16, kF16, kF8E4M3, kE8M0, kI32, kI64, kU8 };

// Bytes of one element.
constexpr int64_t DTypeBytes(DType dtype) {
  switch (dtype) {
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kBF16:
    case DType::kF16:
      return 2;
    case DType::kI64:
      return 8;
    case DType::kF8E4M3:
    case DType::kE8M0:
    case DType::kU8:
      return 1;
  }
  return 0;
}

// True for the types arithmetic is done in: f32, bf16, f16.
constexpr bool IsComputeDType(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16;
}

// "f32", "bf16", "f16", "f8_e4m3", "e8m0", "i32", "i64", "u8".
const char* DTypeName(DType dtype);

// A strided window onto memory that somebody else owns. Strides count elements.
// A default view (null data, rank 0) means "absent" where an op says optional.
// Copyable, as cheap as a pointer; thread-compatible. Whether an op writes
// through a view is stated by the op's params struct, so one type serves inputs
// and outputs; read-only memory (an mmapped checkpoint) is legal for inputs.
struct TensorView {
  static constexpr int kMaxRank = 4;

  void* data = nullptr;
  DType dtype = DType::kF32;
  int rank = 0;
  std::array<int64_t, kMaxRank> sizes{};
  std::array<int64_t, kMaxRank> strides{};

  TensorView() = default;

  // Row-major, contiguous.
  TensorView(const void* memory, DType type, std::initializer_list<int64_t> shape)
      : TensorView(memory, type, shape.begin(), shape.end()) {}
  // The same from a list; sizes beyond kMaxRank are ignored.
  TensorView(const void* memory, DType type, const std::vector<int64_t>& shape)
      : TensorView(memory, type, shape.data(), shape.data() + shape.size()) {}

  bool present() const { return rank > 0; }
  int64_t size(int i) const { return sizes[i]; }
  int64_t stride(int i) const { return strides[i]; }

  int64_t numel() const {
    int64_t n = rank > 0 ? 1 : 0;
    for (int i = 0; i < rank; ++i) n *= sizes[i];
    return n;
  }
  int64_t bytes() const { return numel() * DTypeBytes(dtype); }

  bool contiguous() const {
    int64_t expected = 1;
    for (int i = rank - 1; i >= 0; --i) {
      if (sizes[i] != 1 && strides[i] != expected) return false;
      expected *= sizes[i];
    }
    return true;
  }

  // Elements [begin, begin + count) of dimension `dim`; no bounds check.
  TensorView Slice(int dim, int64_t begin, int64_t count) const {
    TensorView v = *this;
    v.data = static_cast<char*>(data) + begin * strides[dim] * DTypeBytes(dtype);
    v.sizes[dim] = count;
    return v;
  }

  // Element `index` of the first dimension, which disappears.
  TensorView At(int64_t index) const {
    TensorView v = *this;
    v.data = static_cast<char*>(data) + index * strides[0] * DTypeBytes(dtype);
    v.rank = rank - 1;
    for (int i = 0; i < v.rank; ++i) {
      v.sizes[i] = sizes[i + 1];
      v.strides[i] = strides[i + 1];
    }
    v.sizes[v.rank] = v.strides[v.rank] = 0;
    return v;
  }

  // Splits the last dimension [.., a * b] into [.., a, b]; b must divide it.
  TensorView SplitLast(int64_t b) const {
    TensorView v = *this;
    const int64_t stride = strides[rank - 1];
    v.sizes[rank - 1] = sizes[rank - 1] / b;
    v.strides[rank - 1] = stride * b;
    v.sizes[rank] = b;
    v.strides[rank] = stride;
    v.rank = rank + 1;
    return v;
  }

  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
  // Start of row `i` of the first dimension.
  template <typename T>
  T* row(int64_t i) const {
    return static_cast<T*>(data) + i * strides[0];
  }

  // "bf16 [3, 64] strides [128, 1]".
  std::string DebugString() const;

 private:
  TensorView(const void* memory, DType type, const int64_t* begin, const int64_t* end)
      : data(const_cast<void*>(memory)), dtype(type) {
    for (; begin != end && rank < kMaxRank; ++begin) sizes[rank++] = *begin;
    int64_t stride = 1;
    for (int i = rank - 1; i >= 0; --i) {
      strides[i] = stride;
      stride *= sizes[i];
    }
  }
};

}  // namespace hadal::kernels
