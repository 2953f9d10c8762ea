// SPDX-License-Identifier: Apache-2.0
#include "server/admission/memory_foresight.h"

#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/admission_fixture.h"

namespace hadal::admission {
namespace {

using hadal::testing::AdmissionFixture;

constexpr int32_t kBlockTokens = 4;
constexpr int64_t kPoolBlocks = 500;  // an answer of more than 200 tokens is long
constexpr double kDeviations = 2;

std::unique_ptr<request::Request> NewRequest(int32_t prompt = 8, int32_t max_tokens = 400) {
  return AdmissionFixture::MakeRequest(prompt, max_tokens);
}

class MemoryForesightTest : public ::testing::Test {
 protected:
  void Learn(int32_t tokens, int answers = 100) {
    for (int i = 0; i < answers; ++i) lengths.RecordEnd(*NewRequest(), tokens, 0);
  }
  void Renew(const std::vector<RunningSequence>& running) { foresight.Renew(lengths, kDeviations, running); }

  OutputLengths lengths;
  MemoryForesight foresight{kBlockTokens, kPoolBlocks};
};

TEST_F(MemoryForesightTest, KnowsNothingBeforeAnswersHaveEnded) {
  EXPECT_FALSE(foresight.Increase(*NewRequest(), 0).has_value()) << "before the first forecast";
  Renew({{.context_tokens = 28, .max_tokens = 400}});
  EXPECT_FALSE(foresight.Increase(*NewRequest(), 0).has_value());
  EXPECT_FALSE(foresight.Share(*NewRequest(), 10, 0).has_value());
  Learn(250);
  Renew({});
  EXPECT_TRUE(foresight.Knows(*NewRequest()));
  EXPECT_TRUE(foresight.Increase(*NewRequest(), 0).has_value());
  EXPECT_TRUE(foresight.Share(*NewRequest(), 10, 0).has_value());
  EXPECT_FALSE(foresight.Knows(*NewRequest(8, /*max_tokens=*/200))) << "no more than a tenth of the pool";
  auto choices = NewRequest();
  choices->n = 2;
  EXPECT_FALSE(foresight.Increase(*choices, 0).has_value()) << "they share their prompt";
  auto thinking = NewRequest();
  thinking->thinking = true;
  EXPECT_FALSE(foresight.Increase(*thinking, 0).has_value()) << "no answer of that kind has ended";
}

TEST_F(MemoryForesightTest, ShortAnswersKeepTheLeaseOfTheirStart) {
  Learn(50, /*answers=*/1000);
  Renew({});
  EXPECT_FALSE(foresight.Knows(*NewRequest()));
  EXPECT_FALSE(foresight.Increase(*NewRequest(), 0).has_value());
  Learn(300, /*answers=*/100);
  Renew({});
  EXPECT_TRUE(foresight.Knows(*NewRequest())) << "one of eleven is long";
}

TEST_F(MemoryForesightTest, LeasesAtLeastThePromptAndAtMostAllThatIsAskedFor) {
  Learn(250);
  Renew({});
  EXPECT_LE(*foresight.Increase(*NewRequest(80, 201), 0), 70);
  EXPECT_GE(*foresight.Increase(*NewRequest(80, 201), 0), 60);
  EXPECT_LE(*foresight.Increase(*NewRequest(80, 201), 15), 55) << "without what others have leased of the prompt";
  auto fixed = NewRequest(8, 300);
  fixed->least_tokens = 300;
  EXPECT_EQ(foresight.Increase(*fixed, 0), 77);
  // A much larger one ends soon, but the prompt is there now.
  Renew({{.context_tokens = 4000, .produced = 249, .max_tokens = 250}});
  EXPECT_GE(*foresight.Increase(*NewRequest(80, 201), 0), 20);
}

TEST_F(MemoryForesightTest, WhatIsAdmittedCountsAtOnce) {
  Learn(4);
  Learn(400);
  Renew({});
  const int64_t first = *foresight.Increase(*NewRequest(), 0);
  int64_t last = 0;
  for (int i = 0; i < 50; ++i) {
    last = *foresight.Increase(*NewRequest(), 0);
    foresight.Add(*NewRequest(), 0);
  }
  EXPECT_LT(last, first) << "of many hardly all become long";
  EXPECT_GE(last, 50) << "half of them come to a hundred blocks";
}

TEST_F(MemoryForesightTest, AnAnswerThatHasOutlivedTheShortOnesHasALargerShare) {
  Learn(4);
  Learn(400);
  Renew({{.context_tokens = 8, .max_tokens = 1000},
         {.context_tokens = 8, .max_tokens = 1000},
         {.context_tokens = 28, .produced = 20, .max_tokens = 1000}});
  EXPECT_GE(*foresight.Share(*NewRequest(8, 1000), 20, 0), 90);
  EXPECT_LT(*foresight.Share(*NewRequest(8, 1000), 0, 0), *foresight.Share(*NewRequest(8, 1000), 20, 0));
}

}  // namespace
}  // namespace hadal::admission
