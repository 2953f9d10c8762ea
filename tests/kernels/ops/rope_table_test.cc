// SPDX-License-Identifier: Apache-2.0
//
// Frequencies and tables against values of Hugging Face transformers 5.23 (modeling_rope_utils, float32).
#include "kernels/ops/rope_table.h"

#include <cmath>

#include "gtest/gtest.h"

namespace hadal::kernels {
namespace {

RopeConfig V3() {
  return {.scaling = RopeScaling::kYarn,
          .dim = 64,
          .theta = 1e4,
          .factor = 40,
          .original_max_positions = 4096,
          .mscale = 1,
          .mscale_all_dim = 1};
}

RopeConfig Llama3() {
  return {.scaling = RopeScaling::kLlama3,
          .dim = 128,
          .theta = 5e5,
          .factor = 8,
          .original_max_positions = 8192,
          .low_freq_factor = 1,
          .high_freq_factor = 4};
}

void ExpectFrequencies(const RopeConfig& config, const std::vector<std::pair<int, double>>& expected,
                       int64_t tokens = 0) {
  const std::vector<float> f = RopeInverseFrequencies(config, tokens);
  ASSERT_EQ(static_cast<int64_t>(f.size()), config.dim / 2);
  for (const auto& [i, value] : expected) EXPECT_NEAR(f[i], value, 3e-7 * value) << "frequency " << i;
}

TEST(RopeTableTest, YarnBlendsFrequencies) {
  ExpectFrequencies(V3(), {{0, 1.0},
                           {10, 0.0562341325},
                           {11, 0.0390069266},
                           {16, 0.0055},
                           {22, 1.77827941e-4},
                           {23, 3.33380358e-5},
                           {31, 3.33380358e-6}});
  ExpectFrequencies(
      {.scaling = RopeScaling::kYarn, .dim = 128, .theta = 1e6, .factor = 4, .original_max_positions = 32768},
      {{23, 6.97830585e-3}, {24, 5.37532149e-3}, {31, 8.02959728e-4}, {40, 4.44569853e-5}});
  ExpectFrequencies(
      {.scaling = RopeScaling::kYarn, .dim = 64, .theta = 160000, .factor = 16, .original_max_positions = 65536},
      {{15, 3.63553858e-3}, {16, 0.002265625}, {20, 2.96977778e-4}, {24, 1.953125e-5}, {31, 5.68052904e-7}});
}

TEST(RopeTableTest, Llama3InterpolatesBetweenWavelengths) {
  ExpectFrequencies(
      Llama3(),
      {{28, 3.21144599e-3}, {29, 2.16657076e-3}, {32, 5.24846161e-4}, {35, 9.55621235e-5}, {63, 3.06892599e-7}});
}

TEST(RopeTableTest, LinearDividesAndDynamicStretchesBeyondTheLimit) {
  ExpectFrequencies({.scaling = RopeScaling::kLinear, .dim = 64, .theta = 1e5, .factor = 4},
                    {{1, 0.1744576394557953}, {16, 0.0007905694656}, {31, 3.5825317e-06}});
  const RopeConfig dynamic{
      .scaling = RopeScaling::kDynamic, .dim = 64, .theta = 1e4, .factor = 2, .original_max_positions = 4096};
  ExpectFrequencies(dynamic, {{1, 0.7341540455818176}, {16, 0.007121888920664787}, {31, 6.908808427397162e-05}}, 6001);
  EXPECT_EQ(RopeInverseFrequencies(dynamic, 4096), RopeInverseFrequencies({.dim = 64, .theta = 1e4}));
}

TEST(RopeTableTest, SoftmaxScaleCorrectionsOfReleasedModels) {
  EXPECT_NEAR(std::pow(192, -0.5) * MlaSoftmaxScaleFactor(V3()), 0.1352337788, 1e-9);
  RopeConfig lite = V3();
  lite.mscale = lite.mscale_all_dim = 0.707;
  EXPECT_NEAR(std::pow(192, -0.5) * MlaSoftmaxScaleFactor(lite), 0.1147213868, 1e-9);
  EXPECT_EQ(RopeAttentionFactor(V3()), 1.0);  // mscale and mscale_all_dim cancel
  EXPECT_EQ(MlaSoftmaxScaleFactor(Llama3()), 1.0);
  RopeConfig linear = V3();
  linear.scaling = RopeScaling::kLinear;
  EXPECT_EQ(MlaSoftmaxScaleFactor(linear), MlaSoftmaxScaleFactor(V3()));
  linear.scaling = RopeScaling::kNone;
  EXPECT_EQ(MlaSoftmaxScaleFactor(linear), 1.0);
}

// R1-0528-Qwen3-8B: the published attn_factor undoes what YaRN multiplies cos and sin with.
TEST(RopeTableTest, AttnFactorOfQwen3CancelsTheDerivedFactor) {
  RopeConfig qwen3{.scaling = RopeScaling::kYarn,
                   .dim = 128,
                   .theta = 1e6,
                   .factor = 4,
                   .original_max_positions = 32768,
                   .attn_factor = 0.8782488562869419};
  EXPECT_NEAR(RopeAttentionFactor(qwen3), 1.0, 1e-12);
  qwen3.attn_factor = 1.0;
  EXPECT_NEAR(RopeAttentionFactor(qwen3), 1.1386294361, 1e-9);
  RopeConfig v3 = V3();
  v3.attn_factor = 1.25;
  EXPECT_EQ(RopeAttentionFactor(v3), 1.25);
}

TEST(RopeTableTest, TablesHoldCosinesTimesTheAttentionFactor) {
  const auto check = [](const RopeConfig& config, int64_t position, int i, double cos, double sin) {
    const absl::StatusOr<RopeTable> table = BuildRopeTable(config, position + 1);
    ASSERT_EQ(table.status(), absl::OkStatus());
    EXPECT_EQ(table->cos.size(), static_cast<size_t>((position + 1) * config.dim / 2));
    // An angle of some hundred radians has steps of about 1e-5 in float32.
    EXPECT_NEAR(table->cos[position * table->half_dim + i], cos, 1e-5);
    EXPECT_NEAR(table->sin[position * table->half_dim + i], sin, 1e-5);
  };
  check(V3(), 12345, 0, 0.11143578588962555, -0.9937716126441956);
  check(V3(), 12345, 22, -0.584683358669281, 0.8112615942955017);
  const RopeConfig qwen3{
      .scaling = RopeScaling::kYarn, .dim = 128, .theta = 1e6, .factor = 4, .original_max_positions = 32768};
  check(qwen3, 100000, 40, -0.30007457733154297, -1.0983771085739136);
  check(Llama3(), 100000, 35, -0.9913749098777771, -0.13105636835098267);
  const RopeConfig dynamic{
      .scaling = RopeScaling::kDynamic, .dim = 64, .theta = 1e4, .factor = 2, .original_max_positions = 4096};
  check(dynamic, 6000, 16, 0.3144088685512543, -0.9492876529693604);
}

TEST(RopeTableTest, RefusesWhatCannotBe) {
  EXPECT_EQ(BuildRopeTable({.dim = 63}, 4).status().message(),
            "rope: dim: expected an even number from 2 to 4096, found 63");
  EXPECT_FALSE(BuildRopeTable({.dim = 64, .theta = NAN}, 4).ok());
  EXPECT_FALSE(BuildRopeTable({.scaling = RopeScaling::kLinear, .dim = 64, .factor = 0.5}, 4).ok());
  EXPECT_FALSE(BuildRopeTable({.scaling = RopeScaling::kYarn, .dim = 64, .factor = 4}, 4).ok());  // no original limit
  EXPECT_FALSE(BuildRopeTable({.dim = 64}, int64_t{1} << 40).ok());
}

}  // namespace
}  // namespace hadal::kernels
