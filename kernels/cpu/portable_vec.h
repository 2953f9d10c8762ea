// SPDX-License-Identifier: Apache-2.0
//
// The vector type for machines of which nothing is known, and the interface that row_loops.h and matrix_loops.h expect
// of a vector type. Avx2Vec and Avx512Vec have the same members.
//
// A file named after an instruction set instantiates the loops with its own vector type. The types are local to the
// including file, so that no code for one instruction set can be linked into a caller on a machine that lacks it.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/half.h"

namespace hadal::kernels::cpu {
namespace {

struct PortableVec {
  // Floats side by side, with + - * / by lane. GCC and Clang lower it to what the target has.
  using Register = float __attribute__((vector_size(16)));
  static constexpr int kLanes = 4;

  // Sums that the loops over matrices keep in registers: kDotRows x 4 and kOuterRows x kOuterRegisters.
  static constexpr int kDotRows = 2;
  static constexpr int kOuterRows = 4;
  static constexpr int kOuterRegisters = 2;

  // Which lanes a load, store or choice is about: all of them, or the first n.
  struct AllLanes {};
  using Lanes = int64_t;
  static Lanes FirstLanes(int64_t n) { return n; }

  static Register Set(float value) { return Register{value, value, value, value}; }

  // Values as floats. The lanes left out are 0, and their memory is not touched.
  static Register Load(const float* p, AllLanes) { return Register{p[0], p[1], p[2], p[3]}; }
  static Register Load(const BF16* p, AllLanes) {
    uint64_t four = 0;
    std::memcpy(&four, p, sizeof(four));
    return Widen<BF16>(LowHalves((Halves)LongPair{four, 0}));
  }
  static Register Load(const F16* p, AllLanes) {
    uint64_t four = 0;
    std::memcpy(&four, p, sizeof(four));
    return Widen<F16>(LowHalves((Halves)LongPair{four, 0}));
  }
  template <typename T>
  static Register Load(const T* p, Lanes n) {
    Register value = {};
    for (int64_t i = 0; i < n; ++i) value[i] = ToFloat(p[i]);
    return value;
  }

  // Rounds to nearest even; NaN stays NaN.
  template <typename T>
  static void Store(T* p, Register value, AllLanes) {
    for (int i = 0; i < kLanes; ++i) p[i] = FromFloat<T>(value[i]);
  }
  template <typename T>
  static void Store(T* p, Register value, Lanes n) {
    for (int64_t i = 0; i < n; ++i) p[i] = FromFloat<T>(value[i]);
  }

  // a in the given lanes, b in the others.
  static Register Select(AllLanes, Register a, Register) { return a; }
  static Register Select(Lanes n, Register a, Register b) {
    for (int64_t i = 0; i < n; ++i) b[i] = a[i];
    return b;
  }

  // a * b + c, with one rounding where the instruction set has it.
  static Register MulAdd(Register a, Register b, Register c) { return a * b + c; }
  // b where one of them is NaN.
  static Register Max(Register a, Register b) { return a > b ? a : b; }
  // Relative error below 2e-7; 0 and infinity beyond the range of float (subnormal results may be 0); NaN for NaN.
  static Register Exp(Register x) {
    for (int i = 0; i < kLanes; ++i) x[i] = std::exp(x[i]);
    return x;
  }

  static float Sum(Register v) { return (v[0] + v[2]) + (v[1] + v[3]); }
  // May lose a NaN.
  static float MaxLane(Register v) {
    float best = v[0];
    for (int i = 1; i < kLanes; ++i) best = v[i] > best ? v[i] : best;
    return best;
  }
  // out[j] = Sum(sums[j]).
  template <int C>
  static void StoreSums(const Register (&sums)[C], float* out) {
    for (int j = 0; j < C; ++j) out[j] = Sum(sums[j]);
  }

  // ---- For PortableProduct: eight halves at a time (little-endian) ----
  using Halves = uint16_t __attribute__((vector_size(16)));
  using Ints = int32_t __attribute__((vector_size(16)));

  // Halves in the upper parts of integers.
  static Ints LowHalves(Halves h) { return (Ints)__builtin_shufflevector(Halves{}, h, 0, 8, 1, 9, 2, 10, 3, 11); }
  static Ints HighHalves(Halves h) { return (Ints)__builtin_shufflevector(Halves{}, h, 4, 12, 5, 13, 6, 14, 7, 15); }

  // Floats from halves in the upper parts of integers; of F16 as ToFloat, but without branches.
  template <typename T>
  static Register Widen(Ints upper) {
    if constexpr (std::is_same_v<T, BF16>) {
      return (Register)upper;
    } else {
      const Ints magnitude = upper >> 3 & 0x0FFFE000;  // exponent and fraction where a float has them
      const Ints normal = magnitude + (112 << 23);     // the exponents differ by 112
      const Ints subnormal = (Ints)((Register)(magnitude + (113 << 23)) - Set(0x1p-14f));
      const Ints infinite = magnitude + (224 << 23);  // or NaN
      const Ints finite = magnitude < (0x400 << 13) ? subnormal : normal;
      const int32_t sign = INT32_MIN;
      return (Register)((magnitude >= (0x7C00 << 13) ? infinite : finite) | (upper & sign));
    }
  }

 private:
  using LongPair = uint64_t __attribute__((vector_size(16)));
};

}  // namespace
}  // namespace hadal::kernels::cpu
