// SPDX-License-Identifier: Apache-2.0
#include "server/service/prepared_call.h"

#include <gtest/gtest.h>

#include "tests/support/demo_tokenizer.h"

namespace hadal::service {
namespace {

PreparedCall CallOf(const GenerationDefaults& defaults) {
  auto model = std::make_shared<ServedModel>();
  model->tokenizer = testing::DemoTokenizer();
  model->info.max_model_len = 64;
  model->info.vocab_size = model->tokenizer->vocab_size();
  model->defaults = defaults;
  PreparedCall call;
  call.model = std::move(model);
  call.prompt = {5, 6, 7};
  return call;
}

constexpr GenerationDefaults kDefaults = {
    .temperature = 0.6f, .top_p = 0.9f, .top_k = 20, .min_p = 0.05f, .repetition_penalty = 1.1f};

TEST(PreparedCallTest, WhatACallLeavesOutIsTheCheckpoints) {
  const models::SamplingParams sampling = RequestOf(CallOf(kDefaults))->sampling;
  EXPECT_EQ(sampling.temperature, 0.6f);
  EXPECT_EQ(sampling.top_p, 0.9f);
  EXPECT_EQ(sampling.top_k, 20);
  EXPECT_EQ(sampling.min_p, 0.05f);
  EXPECT_EQ(sampling.repetition_penalty, 1.1f);
}

TEST(PreparedCallTest, WhatACallSaysCountsBeforeTheCheckpoint) {
  PreparedCall call = CallOf(kDefaults);
  call.options.sampling = {.temperature = 1.5f, .top_p = 0.5f, .top_k = 0, .min_p = 0.0f, .repetition_penalty = 1.0f};
  const models::SamplingParams sampling = RequestOf(call)->sampling;
  EXPECT_EQ(sampling.temperature, 1.5f);
  EXPECT_EQ(sampling.top_p, 0.5f);
  EXPECT_EQ(sampling.top_k, 0);
  EXPECT_EQ(sampling.min_p, 0.0f);
  EXPECT_EQ(sampling.repetition_penalty, 1.0f);
}

TEST(PreparedCallTest, WithoutEitherNothingIsFiltered) {
  const models::SamplingParams sampling = RequestOf(CallOf({}))->sampling;
  EXPECT_EQ(sampling.temperature, 1.0f);
  EXPECT_EQ(sampling.top_p, 1.0f);
  EXPECT_EQ(sampling.top_k, 0);
  EXPECT_EQ(sampling.min_p, 0.0f);
  EXPECT_EQ(sampling.repetition_penalty, 1.0f);
}

}  // namespace
}  // namespace hadal::service
