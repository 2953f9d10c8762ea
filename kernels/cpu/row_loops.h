// SPDX-License-Identifier: Apache-2.0
//
// The loops over rows of KernelTable, written once over a vector type (portable_vec.h). Instantiated with types that
// are local to a file, they are local to it too; so nothing here may be callable without naming the vector type.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>

#include "kernels/half.h"
#include "kernels/tensor_view.h"

namespace hadal::kernels::cpu {

// Calls body(index, lanes) for each register of values; the lanes of the last may be fewer.
template <typename V, typename Body>
inline void ForEachRegister(int64_t n, Body body) {
  int64_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) body(i, typename V::AllLanes());
  if (i < n) body(i, V::FirstLanes(n - i));
}

template <typename V>
struct RowLoops {
  using Register = typename V::Register;

  static void ToF32(DType dtype, const void* x, float* out, int64_t n) {
    if (dtype == DType::kBF16) return Convert(static_cast<const BF16*>(x), out, n);
    if (dtype == DType::kF16) return Convert(static_cast<const F16*>(x), out, n);
    if (n > 0) std::memmove(out, x, static_cast<size_t>(n) * sizeof(float));
  }

  static void FromF32(DType dtype, const float* x, void* out, int64_t n) {
    if (dtype == DType::kBF16) return Convert(x, static_cast<BF16*>(out), n);
    if (dtype == DType::kF16) return Convert(x, static_cast<F16*>(out), n);
    if (n > 0) std::memmove(out, x, static_cast<size_t>(n) * sizeof(float));
  }

  static float SumSquares(const float* x, int64_t n) {
    Register sum = V::Set(0.0f);
    ForEachRegister<V>(n, [&](int64_t i, auto lanes) {
      const Register value = V::Load(x + i, lanes);
      sum = V::MulAdd(value, value, sum);
    });
    return V::Sum(sum);
  }

  static float Max(const float* x, int64_t n) {
    constexpr float kLowest = -std::numeric_limits<float>::infinity();
    Register best = V::Set(kLowest);
    ForEachRegister<V>(
        n, [&](int64_t i, auto lanes) { best = V::Max(best, V::Select(lanes, V::Load(x + i, lanes), best)); });
    return V::MaxLane(best);
  }

  static float ExpSum(float* x, float shift, int64_t n) {
    const Register offset = V::Set(shift), zero = V::Set(0.0f);
    Register sum = zero;
    ForEachRegister<V>(n, [&](int64_t i, auto lanes) {
      const Register value = V::Exp(V::Load(x + i, lanes) - offset);
      V::Store(x + i, value, lanes);
      sum = sum + V::Select(lanes, value, zero);
    });
    return V::Sum(sum);
  }

  static void Scale(float factor, const float* x, float* out, int64_t n) {
    const Register f = V::Set(factor);
    ForEachRegister<V>(n, [&](int64_t i, auto lanes) { V::Store(out + i, f * V::Load(x + i, lanes), lanes); });
  }

  static void Mul(const float* x, const float* y, float* out, int64_t n) {
    ForEachRegister<V>(
        n, [&](int64_t i, auto lanes) { V::Store(out + i, V::Load(x + i, lanes) * V::Load(y + i, lanes), lanes); });
  }

  static void Add(const float* x, const float* y, float* out, int64_t n) {
    ForEachRegister<V>(
        n, [&](int64_t i, auto lanes) { V::Store(out + i, V::Load(x + i, lanes) + V::Load(y + i, lanes), lanes); });
  }

  static void Axpy(float factor, const float* x, float* y, int64_t n) {
    const Register f = V::Set(factor);
    ForEachRegister<V>(n, [&](int64_t i, auto lanes) {
      V::Store(y + i, V::MulAdd(f, V::Load(x + i, lanes), V::Load(y + i, lanes)), lanes);
    });
  }

  static void SiluMul(const float* gate, const float* up, float* out, int64_t n) {
    const Register zero = V::Set(0.0f), one = V::Set(1.0f);
    ForEachRegister<V>(n, [&](int64_t i, auto lanes) {
      const Register g = V::Load(gate + i, lanes);
      V::Store(out + i, g / (one + V::Exp(zero - g)) * V::Load(up + i, lanes), lanes);
    });
  }

 private:
  template <typename From, typename To>
  static void Convert(const From* x, To* out, int64_t n) {
    ForEachRegister<V>(n, [&](int64_t i, auto lanes) { V::Store(out + i, V::Load(x + i, lanes), lanes); });
  }
};

}  // namespace hadal::kernels::cpu
