// SPDX-License-Identifier: Apache-2.0
#include "kernels/half.h"

#include <algorithm>
#include <vector>

#include "gtest/gtest.h"

namespace hadal::kernels {
namespace {

// Checks a format against exact arithmetic: every code converts back to itself, and every midpoint between neighbours
// and the values next to it round as they should.
template <typename Encode, typename Decode>
void ExpectNearestEven(uint32_t codes, uint32_t sign, Encode encode, Decode decode) {
  for (uint32_t code = 0; code + 1 < codes; ++code) {
    const double low = decode(code), high = decode(code + 1);
    ASSERT_EQ(encode(static_cast<float>(low)), code) << low;
    ASSERT_EQ(encode(static_cast<float>(-low)), code | sign);
    if (std::isinf(high)) continue;
    const float middle = static_cast<float>((low + high) / 2);
    if (static_cast<double>(middle) != (low + high) / 2) continue;
    ASSERT_EQ(encode(middle), code % 2 == 0 ? code : code + 1) << middle;
    ASSERT_EQ(encode(std::nextafter(middle, 0.0f)), code) << middle;
    ASSERT_EQ(encode(std::nextafter(middle, INFINITY)), code + 1) << middle;
  }
}

TEST(HalfTest, F16RoundsToNearestEvenOverAllCodes) {
  ExpectNearestEven(
      0x7C00, 0x8000, [](float v) { return uint32_t{ToF16(v).bits}; },
      [](uint32_t code) { return ToFloat(F16{static_cast<uint16_t>(code)}); });
  EXPECT_EQ(ToF16(65519.996f).bits, 0x7BFF);
  EXPECT_EQ(ToF16(65520.0f).bits, 0x7C00);
  EXPECT_EQ(ToF16(-INFINITY).bits, 0xFC00);
  EXPECT_TRUE(std::isnan(ToFloat(ToF16(NAN))));
  EXPECT_EQ(ToF16(-0.0f).bits, 0x8000);
}

TEST(HalfTest, Bf16RoundsToNearestEvenOverAllCodes) {
  ExpectNearestEven(
      0x7F80, 0x8000, [](float v) { return uint32_t{ToBF16(v).bits}; },
      [](uint32_t code) { return ToFloat(BF16{static_cast<uint16_t>(code)}); });
  EXPECT_EQ(ToBF16(3.4e38f).bits, 0x7F80);  // beyond the largest finite value
  EXPECT_TRUE(std::isnan(ToFloat(ToBF16(std::bit_cast<float>(0x7F800001u)))));
}

TEST(HalfTest, F8E4M3HasTheValuesOfTheFormat) {
  EXPECT_EQ(F8E4M3ToFloat(0x7E), 448.0f);
  EXPECT_EQ(F8E4M3ToFloat(0x08), 0x1p-6f);
  EXPECT_EQ(F8E4M3ToFloat(0x01), 0x1p-9f);
  EXPECT_EQ(F8E4M3ToFloat(0x38), 1.0f);
  EXPECT_EQ(F8E4M3ToFloat(0xB8), -1.0f);
  EXPECT_TRUE(std::isnan(F8E4M3ToFloat(0x7F)));
  ExpectNearestEven(
      0x7F, 0x80, [](float v) { return uint32_t{FloatToF8E4M3(v)}; },
      [](uint32_t code) { return F8E4M3ToFloat(static_cast<uint8_t>(code)); });
  EXPECT_EQ(FloatToF8E4M3(464.0f), 0x7E);  // the tie goes down to 448
  EXPECT_EQ(FloatToF8E4M3(464.1f), 0x7F);
  EXPECT_EQ(FloatToF8E4M3(-INFINITY), 0xFF);
}

TEST(HalfTest, E8M0IsAPowerOfTwo) {
  EXPECT_EQ(E8M0ToFloat(0x7F), 1.0f);
  EXPECT_EQ(E8M0ToFloat(0x80), 2.0f);
  EXPECT_EQ(E8M0ToFloat(0x00), 0x1p-127f);
  EXPECT_TRUE(std::isnan(E8M0ToFloat(0xFF)));
  for (int code = 0; code < 255; ++code) EXPECT_EQ(FloatToE8M0(E8M0ToFloat(static_cast<uint8_t>(code))), code);
  EXPECT_EQ(FloatToE8M0(-1.0f), 0xFF);
}

TEST(HalfTest, E2M1HasEightMagnitudes) {
  const float values[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  for (uint8_t code = 0; code < 8; ++code) {
    EXPECT_EQ(E2M1ToFloat(code), values[code]);
    EXPECT_EQ(E2M1ToFloat(code | 8), -values[code]);
    EXPECT_EQ(FloatToE2M1(values[code]), code);
  }
  EXPECT_EQ(FloatToE2M1(0.25f), 0);
  EXPECT_EQ(FloatToE2M1(0.75f), 2);
  EXPECT_EQ(FloatToE2M1(2.5f), 4);
  EXPECT_EQ(FloatToE2M1(5.0f), 6);
  EXPECT_EQ(FloatToE2M1(-100.0f), 15);
}

}  // namespace
}  // namespace hadal::kernels
