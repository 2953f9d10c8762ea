// SPDX-License-Identifier: Apache-2.0
#include "models/blocks/rope_cache.h"

#include <cmath>

#include "models/blocks/meta_backend.h"
#include "models/checkpoint/recording_loader.h"
#include "tests/models/blocks/block_fixture.h"

namespace hadal::models {
namespace {

using kernels::RopeLayout;

class RopeCacheTest : public testing::BlockTest {};

TEST_F(RopeCacheTest, TurnsByThePositionAndBack) {
  const auto rope = RopeCache::Create(load(), {.dim = 2}, 8);
  ASSERT_TRUE(rope.ok()) << rope.status();
  Step(3, 2, 8);  // positions 3 and 4
  std::vector<float> q = {1, 0, 1, 0};
  const kernels::TensorView heads = Rows(q, 2).SplitLast(2);
  ASSERT_TRUE((*rope)->Apply(*backend_, batch_.positions, heads, {}, RopeLayout::kHalfSplit).ok());
  EXPECT_NEAR(q[0], std::cos(3.0f), 1e-6);
  EXPECT_NEAR(q[1], std::sin(3.0f), 1e-6);
  EXPECT_NEAR(q[2], std::cos(4.0f), 1e-6);
  ASSERT_TRUE((*rope)->Apply(*backend_, batch_.positions, {}, heads, RopeLayout::kHalfSplit, /*inverse=*/true).ok());
  EXPECT_NEAR(q[0], 1, 1e-6);
  EXPECT_NEAR(q[3], 0, 1e-6);
}

// A plan counts the tables of a million positions without making them.
TEST_F(RopeCacheTest, DeclaresItsTables) {
  checkpoint::RecordingLoader recording(kernels::DType::kBF16);
  MetaBackend meta;
  ASSERT_TRUE(RopeCache::Create({config_, recording, meta}, {.dim = 64}, 1 << 20).ok());
  EXPECT_EQ(recording.table_bytes(), 2 * (int64_t{1} << 20) * 32 * 4);
}

}  // namespace
}  // namespace hadal::models
