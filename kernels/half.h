// SPDX-License-Identifier: Apache-2.0
//
// Small number formats to and from float, round to nearest, ties to even.
// Plain integer arithmetic: the same result on every machine. NaN stays NaN.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace hadal::kernels {

// bfloat16: the upper half of a float.
struct BF16 {
  uint16_t bits = 0;
};

// IEEE 754 binary16.
struct F16 {
  uint16_t bits = 0;
};

inline float ToFloat(float value) { return value; }

inline float ToFloat(BF16 value) { return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16); }

inline float ToFloat(F16 value) {
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000u) << 16;
  const uint32_t magnitude = value.bits & 0x7FFFu;
  if (magnitude >= 0x7C00u) {  // infinity or NaN
    return std::bit_cast<float>(sign | 0x7F800000u | ((magnitude & 0x3FFu) << 13));
  }
  if (magnitude < 0x0400u) {  // zero or subnormal: magnitude * 2^-24 exactly
    const float tiny = static_cast<float>(magnitude) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(tiny));
  }
  return std::bit_cast<float>(sign | ((magnitude << 13) + 0x38000000u));
}

inline BF16 ToBF16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) {
    return BF16{static_cast<uint16_t>((bits >> 16) | 0x40u)};
  }
  return BF16{static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16)};
}

inline F16 ToF16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return F16{static_cast<uint16_t>(sign | 0x7E00u)};
  if (magnitude >= 0x477FF000u) return F16{static_cast<uint16_t>(sign | 0x7C00u)};
  if (magnitude < 0x38800000u) {  // below 2^-14: adding 0.5 rounds at 2^-24
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return F16{static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3F000000u))};
  }
  const uint32_t rounded = magnitude + 0xFFFu + ((magnitude >> 13) & 1u) - 0x38000000u;
  return F16{static_cast<uint16_t>(sign | (rounded >> 13))};
}

template <typename T>
T FromFloat(float value);
template <>
inline float FromFloat<float>(float value) {
  return value;
}
template <>
inline BF16 FromFloat<BF16>(float value) {
  return ToBF16(value);
}
template <>
inline F16 FromFloat<F16>(float value) {
  return ToF16(value);
}

// FP8 E4M3 ("fn": no infinity, NaN at 0x7F and 0xFF, largest value 448).
inline float F8E4M3ToFloat(uint8_t bits) {
  const float sign = (bits & 0x80u) ? -1.0f : 1.0f;
  const int exponent = (bits >> 3) & 0xF;
  const int mantissa = bits & 7;
  if (exponent == 15 && mantissa == 7) return std::numeric_limits<float>::quiet_NaN();
  if (exponent == 0) return sign * static_cast<float>(mantissa) * 0x1p-9f;
  return sign * std::ldexp(1.0f + static_cast<float>(mantissa) / 8.0f, exponent - 7);
}

// Values above 448 after rounding become NaN, as in torch; clamp before if that
// is not wanted.
inline uint8_t FloatToF8E4M3(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint8_t sign = static_cast<uint8_t>((bits >> 24) & 0x80u);
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude >= 0x43F00000u) return sign | 0x7Fu;  // >= 480, infinity, NaN
  if (magnitude < 0x3C800000u) {                      // below 2^-6: adding 2^14 rounds at 2^-9
    const float shifted = std::bit_cast<float>(magnitude) + 16384.0f;
    return sign | static_cast<uint8_t>(std::bit_cast<uint32_t>(shifted) - 0x46800000u);
  }
  const uint32_t rounded = magnitude + 0x7FFFFu + ((magnitude >> 20) & 1u) - 0x3C000000u;
  const uint32_t result = rounded >> 20;
  return sign | static_cast<uint8_t>(result > 0x7Eu ? 0x7Fu : result);
}

// E8M0: an exponent only, 2^(bits - 127); 0xFF is NaN.
inline float E8M0ToFloat(uint8_t bits) {
  if (bits == 0xFFu) return std::numeric_limits<float>::quiet_NaN();
  if (bits == 0) return 0x1p-127f;
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 23);
}

// Nearest power of two, ties to the larger; values below 2^-127 give 2^-127,
// NaN, negative and infinite values give NaN.
inline uint8_t FloatToE8M0(float value) {
  if (!(value >= 0.0f) || std::isinf(value)) return 0xFFu;
  if (value < 0x1p-126f) return value < 0x1.8p-127f ? 0 : 1;
  const uint32_t rounded = std::bit_cast<uint32_t>(value) + 0x400000u;
  return static_cast<uint8_t>(rounded >> 23);
}

// FP4 E2M1, low nibble: 0, .5, 1, 1.5, 2, 3, 4, 6 and their negatives.
inline float E2M1ToFloat(uint8_t nibble) {
  constexpr float kValues[8] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
  const float magnitude = kValues[nibble & 7u];
  return (nibble & 8u) ? -magnitude : magnitude;
}

// Values beyond 6 saturate; NaN gives 6, since the format has none.
inline uint8_t FloatToE2M1(float value) {
  const uint8_t sign = std::signbit(value) ? 8 : 0;
  const float m = std::fabs(value);
  // Midpoints; a tie goes to the code with an even mantissa bit.
  if (m <= 0.25f) return sign | 0;
  if (m < 0.75f) return sign | 1;
  if (m <= 1.25f) return sign | 2;
  if (m < 1.75f) return sign | 3;
  if (m <= 2.5f) return sign | 4;
  if (m < 3.5f) return sign | 5;
  if (m <= 5.0f) return sign | 6;
  return sign | 7;
}

}  // namespace hadal::kernels
