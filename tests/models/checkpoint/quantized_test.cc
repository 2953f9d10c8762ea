// SPDX-License-Identifier: Apache-2.0
// Weights stored in FP8 and FP4 with block factors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "tests/models/checkpoint/weight_loader_fixture.h"
#include "tests/models/config/mutator.h"

namespace hadal::checkpoint {
namespace {

using kernels::DType;
using ::testing::AllOf;
using ::testing::HasSubstr;

struct Fp8Case {
  int64_t rows, columns, block_rows, block_columns;
  bool e8m0;
};

class Fp8Test : public WeightLoaderTest, public ::testing::WithParamInterface<Fp8Case> {};

TEST_P(Fp8Test, EqualsAPlainLoop) {
  const Fp8Case& c = GetParam();
  std::mt19937 random(7);
  std::string codes(static_cast<size_t>(c.rows * c.columns), '\0');
  for (char& code : codes) {
    do code = static_cast<char>(random());
    while ((code & 0x7F) == 0x7F);  // NaN has a test of its own
  }
  const int64_t scale_rows = (c.rows + c.block_rows - 1) / c.block_rows;
  const int64_t scale_columns = (c.columns + c.block_columns - 1) / c.block_columns;
  std::vector<float> scales;
  std::string e8m0;
  for (int64_t i = 0; i < scale_rows * scale_columns; ++i) {
    const uint8_t exponent = static_cast<uint8_t>(110 + random() % 20);
    e8m0 += static_cast<char>(exponent);
    scales.push_back(c.e8m0 ? kernels::E8M0ToFloat(exponent) : 0.001f * static_cast<float>(random() % 1000 + 1));
  }
  builder_.AddRaw("pad", "U8", {1}, "x");  // nothing is aligned
  builder_.AddRaw("x.weight", "F8_E4M3", {c.rows, c.columns}, codes);
  if (c.e8m0) {
    builder_.AddRaw("x.weight_scale_inv", "F8_E8M0", {scale_rows, scale_columns}, e8m0);
  } else {
    builder_.AddF32("x.weight_scale_inv", {scale_rows, scale_columns}, scales);
  }
  config_.fp8 = config::Fp8Config{c.block_rows, c.block_columns};

  std::vector<float> expected;
  for (int64_t row = 0; row < c.rows; ++row) {
    for (int64_t column = 0; column < c.columns; ++column) {
      const float scale = scales[static_cast<size_t>(row / c.block_rows * scale_columns + column / c.block_columns)];
      expected.push_back(
          kernels::F8E4M3ToFloat(static_cast<uint8_t>(codes[static_cast<size_t>(row * c.columns + column)])) * scale);
    }
  }
  Open(DType::kF32);
  const LoadedTensor tensor = Must(loader_->Load("x.weight"));
  EXPECT_EQ(Floats(tensor), expected);
  EXPECT_EQ(tensor.weight.scheme, kernels::WeightScheme::kPlain);  // the scales are in the values
  EXPECT_FALSE(tensor.weight.scales.present());
  // A slice that starts inside a block.
  const LoadedTensor slice = Must(loader_->LoadRows({{"x.weight", c.rows / 2, -1}}));
  EXPECT_EQ(Floats(slice), std::vector<float>(expected.begin() + c.rows / 2 * c.columns, expected.end()));
  Open(DType::kBF16);
  for (float& value : expected) value = kernels::ToFloat(kernels::ToBF16(value));
  EXPECT_EQ(Floats(Must(loader_->Load("x.weight"))), expected);
}

INSTANTIATE_TEST_SUITE_P(Shapes, Fp8Test,
                         ::testing::Values(Fp8Case{1, 1, 128, 128, false}, Fp8Case{128, 128, 128, 128, false},
                                           Fp8Case{129, 127, 128, 128, false}, Fp8Case{576, 300, 128, 128, true},
                                           Fp8Case{7, 33, 4, 8, false}, Fp8Case{5, 8, 2, 3, true}));

TEST_F(WeightLoaderTest, KeepsFp8NaNAndNeedsItsScale) {
  builder_.AddRaw("x.weight", "F8_E4M3", {1, 2}, "\x7f\x38");
  builder_.AddF32("x.weight_scale_inv", {1, 1}, {2.0f});
  builder_.AddRaw("y.weight", "F8_E4M3", {1, 2}, "\x7f\x38");
  builder_.AddRaw("z.weight", "F8_E5M2", {1, 2}, "\x7f\x38");
  config_.fp8 = config::Fp8Config{};
  Open(DType::kF32);
  const std::vector<float> values = Floats(Must(loader_->Load("x.weight")));
  EXPECT_TRUE(std::isnan(values[0]));
  EXPECT_EQ(values[1], 2.0f);
  EXPECT_THAT(loader_->Load("y.weight").status().message(), HasSubstr("y.weight_scale_inv"));
  EXPECT_THAT(loader_->Load("z.weight").status().message(), HasSubstr("found F8_E5M2"));
  config_.fp8.reset();
  Open(DType::kF32);
  EXPECT_THAT(loader_->Load("x.weight").status().message(), HasSubstr("expected a quantization_config"));
}

TEST_F(WeightLoaderTest, ReadsFactorsUnderBothGenerationsOfNames) {
  config_.fp8 = config::Fp8Config{2, 2, true};
  builder_.AddRaw("a.weight", "F8_E4M3", {1, 2}, "\x38\x40");
  builder_.AddRaw("a.scale", "F8_E8M0", {1, 1}, "\x80");
  builder_.AddRaw("b.weight", "F8_E4M3", {1, 2}, "\x38\x40");
  builder_.AddF32("b.weight_scale_inv", {1, 1}, {0.75f});
  builder_.AddRaw("c.weight", "F8_E4M3", {1, 2}, "\x38\x40");
  builder_.AddF32("c.weight_scale_inv", {1, 1}, {1});
  builder_.AddF32("c.scale", {1, 1}, {1});
  builder_.AddRaw("d.weight", "F8_E4M3", {1, 2}, "\x38\x40");
  Open(DType::kF32);
  EXPECT_EQ(Floats(Must(loader_->Load("a.weight"))), (std::vector<float>{2, 4}));
  EXPECT_EQ(Floats(Must(loader_->Load("b.weight"))), (std::vector<float>{0.75f, 1.5f}));
  EXPECT_THAT(loader_->Load("c.weight").status().message(),
              HasSubstr("tensor \"c.weight_scale_inv\": expected its factors under one name, found \"c.scale\" too"));
  EXPECT_THAT(loader_->Load("d.weight").status().message(),
              HasSubstr("\"d.weight\": expected its factors as d.weight_scale_inv or d.scale, found none"));
}

TEST_F(WeightLoaderTest, TakesTheLowNibbleFirst) {
  config_.fp8 = config::Fp8Config{128, 128, true};
  // Nibbles 0..15 in order; the second row has another factor.
  const std::string codes = "\x10\x32\x54\x76\x98\xba\xdc\xfe";
  builder_.AddRaw("x.weight", "I8", {2, 8}, codes + codes);
  builder_.AddRaw("x.scale", "F8_E8M0", {2, 1}, "\x7f\x7d");
  Open(DType::kBF16);
  const std::vector<float> row = {0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0f, -0.5, -1, -1.5, -2, -3, -4, -6};
  std::vector<float> expected = row;
  for (float value : row) expected.push_back(value / 4);
  const LoadedTensor tensor = Must(loader_->Load("x.weight"));
  EXPECT_EQ(Shape(tensor), (std::vector<int64_t>{2, 16}));
  EXPECT_EQ(Floats(tensor), expected);
  EXPECT_FALSE(tensor.zero_copy);
}

TEST_F(WeightLoaderTest, RefusesFp4ValuesBeyondF16WhereTheyAre) {
  config_.fp8 = config::Fp8Config{128, 128, true};
  builder_.AddRaw("fits.weight", "I8", {1, 2}, "\x21\xe5");  // 0.5, 1, 3, -4 times 2^13
  builder_.AddRaw("fits.scale", "F8_E8M0", {1, 1}, "\x8c");
  builder_.AddRaw("over.weight", "I8", {2, 2}, "\x21\x21\x21\xf1");  // -6 times 2^14
  builder_.AddRaw("over.scale", "F8_E8M0", {2, 1}, "\x7f\x8d");
  Open(DType::kF16);
  EXPECT_EQ(Floats(Must(loader_->Load("fits.weight"))), (std::vector<float>{4096, 8192, 24576, -32768}));
  EXPECT_THAT(loader_->Load("over.weight").status().message(),
              HasSubstr("expected values within +-65504 for float16, found -98304 at row 1, column 3"));
}

TEST_F(WeightLoaderTest, TakesFp4FactorsWhoseLargestCodeIsBeyondF16) {
  config_.fp8 = config::Fp8Config{128, 128, true};
  builder_.AddRaw("x.weight", "I8", {1, 2}, "\x21\xba");  // 0.5, 1, -1, -1.5 times 2^14
  builder_.AddRaw("x.scale", "F8_E8M0", {1, 1}, "\x8d");
  Open(DType::kF16);
  EXPECT_EQ(Floats(Must(loader_->Load("x.weight"))), (std::vector<float>{8192, 16384, -16384, -24576}));
}

struct Fp4Case {
  int64_t rows, columns;
};

class Fp4Test : public WeightLoaderTest, public ::testing::WithParamInterface<Fp4Case> {
 protected:
  // Adds the tensor and its factors; returns its values.
  std::vector<float> Add(const std::string& name, uint32_t seed) {
    const auto [rows, columns] = GetParam();
    const int64_t scale_columns = (columns + 31) / 32;
    std::mt19937 random(seed);
    std::string codes(static_cast<size_t>(rows * columns / 2), '\0');
    for (char& code : codes) code = static_cast<char>(random());
    std::string scales(static_cast<size_t>(rows * scale_columns), '\0');
    for (char& scale : scales) scale = static_cast<char>(110 + random() % 20);
    builder_.AddRaw(name + ".weight", "I8", {rows, columns / 2}, codes);
    builder_.AddRaw(name + ".scale", "F8_E8M0", {rows, scale_columns}, scales);
    std::vector<float> values;
    for (int64_t i = 0; i < rows * columns; ++i) {
      const auto pair = static_cast<uint8_t>(codes[static_cast<size_t>(i / 2)]);  // rows have an even length
      const int64_t block = i / columns * scale_columns + i % columns / 32;
      values.push_back(kernels::E2M1ToFloat(i % 2 == 0 ? pair & 15 : pair >> 4) *
                       std::exp2(static_cast<float>(static_cast<uint8_t>(scales[static_cast<size_t>(block)]) - 127)));
    }
    return values;
  }
};

TEST_P(Fp4Test, EqualsAPlainLoop) {
  const auto [rows, columns] = GetParam();
  config_.fp8 = config::Fp8Config{128, 128, true};
  builder_.AddRaw("pad", "U8", {1}, "x");  // nothing is aligned
  const std::vector<float> x = Add("x", 1), y = Add("y", 2);
  for (kernels::Backend* backend : {static_cast<kernels::Backend*>(&host_), static_cast<kernels::Backend*>(&device_)}) {
    backend_ = backend;
    for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {  // E2M1 times a power of two is exact in each
      Open(dtype);
      EXPECT_EQ(Floats(Must(loader_->Load("x.weight"))), x);
      const LoadedTensor slice = Must(loader_->LoadRows({{"x.weight", rows / 2, -1}}));
      EXPECT_EQ(Floats(slice), std::vector<float>(x.begin() + rows / 2 * columns, x.end()));
      const LoadedTensor groups =
          Must(loader_->LoadGroups({{{"x.weight"}, {"y.weight"}}, {{"y.weight"}, {"x.weight"}}}));
      EXPECT_EQ(Shape(groups), (std::vector<int64_t>{2, 2 * rows, columns}));
      std::vector<float> expected = x;
      for (const std::vector<float>& part : {y, y, x}) expected.insert(expected.end(), part.begin(), part.end());
      EXPECT_EQ(Floats(groups), expected);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Fp4Test,
                         ::testing::Values(Fp4Case{1, 2}, Fp4Case{1, 32}, Fp4Case{3, 20}, Fp4Case{5, 34},
                                           Fp4Case{17, 96}, Fp4Case{43, 136}));

TEST_F(WeightLoaderTest, RefusesFp4WithoutItsFactorsOrItsConfiguration) {
  const auto add = [this](const std::string& name, const std::string& dtype, const std::vector<int64_t>& shape,
                          const std::string& bytes) {
    builder_.AddRaw(name + ".weight", "I8", {2, 20}, std::string(40, '\x11'));
    if (!dtype.empty()) builder_.AddRaw(name + ".scale", dtype, shape, bytes);
  };
  add("none", "", {}, "");
  add("byte", "U8", {2, 2}, std::string(4, '\x7f'));
  add("float", "F32", {2, 2}, std::string(16, '\0'));
  add("flat", "F8_E8M0", {4}, std::string(4, '\x7f'));
  add("blocks", "F8_E8M0", {1, 1}, std::string(1, '\x7f'));
  add("good", "F8_E8M0", {2, 2}, std::string(4, '\x7f'));
  builder_.AddRaw("vector.weight", "I8", {4}, std::string(4, '\x11'));
  config_.fp8 = config::Fp8Config{128, 128, true};
  Open(DType::kBF16);
  const auto message = [this](const char* name) { return std::string(loader_->Load(name).status().message()); };
  EXPECT_THAT(message("none.weight"), HasSubstr("expected its factors as none.weight_scale_inv or none.scale"));
  EXPECT_THAT(message("byte.weight"), HasSubstr("tensor \"byte.scale\": expected dtype F8_E8M0, found U8"));
  EXPECT_THAT(message("float.weight"), HasSubstr("tensor \"float.scale\": expected dtype F8_E8M0, found F32"));
  EXPECT_THAT(message("flat.weight"),
              HasSubstr("\"flat.scale\": expected shape [2, 2] for blocks of [1, 32], found [4]"));
  EXPECT_THAT(message("blocks.weight"), HasSubstr("expected shape [2, 2] for blocks of [1, 32], found [1, 1]"));
  EXPECT_THAT(message("vector.weight"), HasSubstr("expected 2 dimensions for dtype I8, found 1"));
  EXPECT_EQ(message("good.weight"), "");
  config_.fp8->fp4_experts = false;
  Open(DType::kBF16);
  EXPECT_THAT(message("good.weight"),
              HasSubstr("tensor \"good.weight\": expected expert_dtype \"fp4\" in config.json for dtype I8"));
}

TEST_F(WeightLoaderTest, RefusesFactorsThatAreNoNumbers) {
  config_.fp8 = config::Fp8Config{1, 1, true};
  const auto fp8 = [this](const std::string& name, float scale) {
    builder_.AddRaw(name + ".weight", "F8_E4M3", {1, 2}, "\x38\x38");
    builder_.AddF32(name + ".scale", {1, 2}, {1.0f, scale});
  };
  fp8("nan", std::nanf(""));
  fp8("infinite", INFINITY);
  fp8("negative", -1.0f);
  fp8("zero", 0.0f);
  fp8("large", 0x1p119f);
  builder_.AddRaw("codes.weight", "F8_E4M3", {2, 1}, "\x38\x38");
  builder_.AddRaw("codes.scale", "F8_E8M0", {2, 1}, "\x7f\xff");
  builder_.AddRaw("packed.weight", "I8", {2, 1}, "\x11\x11");
  builder_.AddRaw("packed.scale", "F8_E8M0", {2, 1}, "\xf6\x7f");
  builder_.AddRaw("edge.weight", "I8", {2, 1}, "\x77\x11");
  builder_.AddRaw("edge.scale", "F8_E8M0", {2, 1}, std::string("\xf5\0", 2));
  Open(DType::kF32);
  const auto message = [this](const char* name) { return std::string(loader_->Load(name).status().message()); };
  EXPECT_THAT(message("nan.weight"),
              HasSubstr("tensor \"nan.scale\": expected factors from 0 to 2^118, found nan at row 0, column 1"));
  EXPECT_THAT(message("infinite.weight"), HasSubstr("found inf at row 0, column 1"));
  EXPECT_THAT(message("negative.weight"), HasSubstr("found -1 at row 0"));
  EXPECT_THAT(message("large.weight"), HasSubstr("\"large.scale\": expected factors from 0 to 2^118"));
  EXPECT_THAT(message("codes.weight"),
              HasSubstr("\"codes.scale\": expected factors from 0 to 2^118, found nan at row 1"));
  EXPECT_THAT(message("packed.weight"), HasSubstr("tensor \"packed.scale\": expected factors from 0 to 2^118"));
  EXPECT_EQ(message("zero.weight"), "");
  EXPECT_EQ(Floats(Must(loader_->Load("edge.weight"))),
            (std::vector<float>{0x1.8p120f, 0x1.8p120f, 0x1p-128f, 0x1p-128f}));
}

TEST_F(WeightLoaderTest, NamesWhatOtherFormatsWouldNeed) {
  builder_.AddRaw("a", "F8_E5M2", {1, 2}, "\x7f\x38");
  builder_.AddRaw("b", "U8", {1, 2}, "\x7f\x38");
  Open(DType::kF32);
  EXPECT_THAT(loader_->Load("a").status().message(), HasSubstr("found F8_E5M2 (a decoder for E5M2 would be needed"));
  EXPECT_THAT(loader_->Load("b").status().message(), HasSubstr("found U8 (packed formats such as AWQ, GPTQ, MXFP4"));
}

// Factors are not expanded and pages of the file are dropped by the system: what stays is the result.
TEST_F(WeightLoaderTest, DequantisesExpertsInBoundedMemory) {
  constexpr int64_t kExperts = 32, kRows = 512, kColumns = 2048;
  config_.fp8 = config::Fp8Config{128, 128, true};
  std::vector<std::vector<RowRange>> groups;
  for (int64_t expert = 0; expert < kExperts; ++expert) {
    const std::string name = absl::StrCat("experts.", expert, ".w1");
    builder_.AddRaw(name + ".weight", "I8", {kRows, kColumns / 2}, std::string(kRows * kColumns / 2, '\x21'));
    builder_.AddRaw(name + ".scale", "F8_E8M0", {kRows, kColumns / 32}, std::string(kRows * kColumns / 32, '\x7f'));
    groups.push_back({{name + ".weight"}});
  }
  backend_ = &device_;
  WeightLoader::Options options;
  options.threads = 4;
  Open(DType::kBF16, options);
  builder_ = SafetensorsBuilder();
  const int64_t before = config::PeakRssBytes();
  const LoadedTensor tensor = Must(loader_->LoadGroups(groups));
  EXPECT_EQ(tensor.view().numel(), kExperts * kRows * kColumns);
  int64_t wrong = 0;
  for (int64_t i = 0; i < tensor.view().numel(); ++i) {
    wrong += kernels::ToFloat(tensor.view().as<kernels::BF16>()[i]) != (i % 2 == 0 ? 0.5f : 1.0f);
  }
  EXPECT_EQ(wrong, 0);
  const int64_t result = tensor.view().bytes(), file = kExperts * kRows * (kColumns / 2 + kColumns / 32);
  EXPECT_LT(config::PeakRssBytes() - before, result + file + (int64_t{32} << 20));
}

}  // namespace
}  // namespace hadal::checkpoint
