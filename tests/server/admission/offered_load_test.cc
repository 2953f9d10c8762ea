// SPDX-License-Identifier: Apache-2.0
#include "server/admission/offered_load.h"

#include <gtest/gtest.h>

namespace hadal::admission {
namespace {

constexpr SteadyWork kWork = {.step_time = {.step_s = 0.1},
                              .max_batch_size = 8,
                              .max_batch_tokens = 1000,
                              .pool_blocks = 1000,
                              .prompt_tokens = 20,
                              .output_tokens = 40,
                              .blocks_per_request = 10};

TEST(OfferedLoadTest, AFullBatchEndsOneOfItsSequencesInEachShareOfAnAnswer) {
  EXPECT_DOUBLE_EQ(SustainableRate(kWork), 8 / 40.0 / 0.1);
}

TEST(OfferedLoadTest, PlacesRowsAndBlocksBoundTheBatch) {
  SteadyWork work = kWork;
  work.pool_blocks = 40;
  EXPECT_DOUBLE_EQ(SustainableRate(work), 4 / 40.0 / 0.1);
  work.max_batch_tokens = 3;  // two sequences, and a row of prompts for each other step
  EXPECT_DOUBLE_EQ(SustainableRate(work), 2 / 40.0 / 0.1);
  work.computed_share = 0;
  EXPECT_DOUBLE_EQ(SustainableRate(work), 3 / 40.0 / 0.1);
  work.max_batch_size = 0;
  EXPECT_EQ(SustainableRate(work), 0);
}

TEST(OfferedLoadTest, StepsTakeTheTimeOfTheirRowsAndContexts) {
  SteadyWork work = kWork;
  work.step_time = {.step_s = 0.1, .sequence_s = 0.01, .context_token_s = 0.001, .prefill_token_s = 0.005};
  const double step = 0.1 + 8 * 0.01 + 8 * (20 + 20) * 0.001 + 8 / 40.0 * 20 * 0.005;
  EXPECT_DOUBLE_EQ(SustainableRate(work), 8 / 40.0 / step);
}

}  // namespace
}  // namespace hadal::admission
