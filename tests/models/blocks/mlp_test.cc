// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/mlp.h"

#include <cmath>

#include "tests/models/blocks/block_fixture.h"

namespace hadal::models {
namespace {

float Silu(float x) { return x / (1 + std::exp(-x)); }

class MlpTest : public testing::BlockTest {
 protected:
  MlpTest() {
    config_.hidden_size = 2;
    loader_.Set("m.gate_proj.weight", {2, 0});
    loader_.Set("m.up_proj.weight", {0, 3});
    loader_.Set("m.down_proj.weight", {1, -1});
    Step(0, 1, 4);
  }
};

TEST_F(MlpTest, MultipliesTheGateWithUp) {
  const auto mlp = Mlp::Load(load(), "m", 1, false);
  ASSERT_TRUE(mlp.ok()) << mlp.status();
  std::vector<float> x = {1, 5}, out(2);
  ASSERT_TRUE((*mlp)->Forward(forward(), Rows(x, 2), Rows(out, 2)).ok());
  EXPECT_NEAR(out[0], Silu(2) * 15, 1e-5);
  EXPECT_NEAR(out[1], -Silu(2) * 15, 1e-5);
  EXPECT_EQ(x, (std::vector<float>{1, 5}));
  EXPECT_EQ(arena_.used_bytes(), 0);
}

TEST_F(MlpTest, ClampsGateAndUp) {
  const auto mlp = Mlp::Load(load(), "m", 1, false, {}, 1.5);
  ASSERT_TRUE(mlp.ok()) << mlp.status();
  std::vector<float> x = {1, -5}, out(2);
  ASSERT_TRUE((*mlp)->Forward(forward(), Rows(x, 2), Rows(out, 2)).ok());
  EXPECT_NEAR(out[0], Silu(1.5f) * -1.5f, 1e-5);
}

TEST_F(MlpTest, TakesTheNamesOfTheFamilyAndBiases) {
  loader_.Set("m.w1.weight", {0, 0});
  loader_.Set("m.w1.bias", {1});
  loader_.Set("m.w3.weight", {0, 0});
  loader_.Set("m.w3.bias", {2});
  loader_.Set("m.w2.weight", {1, 0});
  loader_.Set("m.w2.bias", {0, 7});
  const auto mlp = Mlp::Load(load(), "m", 1, true, {.gate = "w1", .up = "w3", .down = "w2"});
  ASSERT_TRUE(mlp.ok()) << mlp.status();
  std::vector<float> x = {9, 9}, out(2);
  ASSERT_TRUE((*mlp)->Forward(forward(), Rows(x, 2), Rows(out, 2)).ok());
  EXPECT_NEAR(out[0], Silu(1) * 2, 1e-5);
  EXPECT_EQ(out[1], 7);
}

}  // namespace
}  // namespace hadal::models
