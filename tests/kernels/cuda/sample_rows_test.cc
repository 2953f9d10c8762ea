// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/sample_rows.h"

#include <cstdint>
#include <vector>

#include "gtest/gtest.h"

namespace hadal::kernels::cuda {
namespace {

TEST(SampleRowsTest, PacksListsAndMarksRepeatedIds) {
  const std::vector<SamplePenalty> once = {{3, 1, false}, {5, 0, true}}, twice = {{3, 1, false}, {3, 2, false}};
  const std::vector<SampleBias> bias = {{3, 1.5f}};
  const std::vector<uint32_t> mask = {1, 2, 3, 4};  // longer than 40 tokens need
  std::vector<SampleRowParams> rows(3);
  rows[0].penalties = once;
  rows[0].biases = bias;  // the same id as a penalty is no repetition
  rows[1].penalties = twice;
  rows[2].allowed_mask = mask;
  SampleRows packed;
  for (int round = 0; round < 2; ++round) {  // nothing is left over from the last call
    packed.Build(rows, 40);
    ASSERT_EQ(packed.rows().size(), 3u);
    EXPECT_EQ(packed.rows()[0].in_order, 0);
    EXPECT_EQ(packed.rows()[0].first_bias, 2);
    EXPECT_EQ(packed.rows()[1].in_order, 1);
    EXPECT_EQ(packed.rows()[1].first_penalty, 3);
    EXPECT_EQ(packed.rows()[1].first_mask_word, -1);
    EXPECT_EQ(packed.rows()[2].first_mask_word, 0);
    EXPECT_EQ(packed.mask_words(), (std::vector<uint32_t>{1, 2}));
    EXPECT_EQ(packed.tokens().size(), 5u);
    EXPECT_EQ(packed.tokens()[1].in_prompt, 1);
    EXPECT_EQ(packed.tokens()[2].bias, 1.5f);
  }
}

}  // namespace
}  // namespace hadal::kernels::cuda
