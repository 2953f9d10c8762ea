// SPDX-License-Identifier: Apache-2.0
#include "server/response_cache/recorded_output.h"

#include <random>
#include <string>

#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace hadal::response_cache {
namespace {

using request::FinishReason;

const CacheKey kKey(32, 'k');
const absl::Time kStored = absl::FromUnixSeconds(1700000000);

RecordedOutput Sample(bool logprobs) {
  RecordedOutput output;
  output.cached_tokens = 64;
  for (int i = 0; i < 300; ++i) {
    request::TokenEvent token{.choice = i % 2, .token_id = i * 431};
    if (logprobs) {
      token.logprob = -0.25f * static_cast<float>(i + 1);
      token.top = {{i, -0.5f}, {129000, -7.5f}};
    }
    output.tokens.push_back(token);
  }
  output.ends = {{.choice = 1, .reason = FinishReason::kLength},
                 {.choice = 0, .reason = FinishReason::kStop, .stop_token = 1}};
  return output;
}

void ExpectEqual(const RecordedOutput& a, const RecordedOutput& b) {
  EXPECT_EQ(a.cached_tokens, b.cached_tokens);
  ASSERT_EQ(a.tokens.size(), b.tokens.size());
  for (size_t i = 0; i < a.tokens.size(); ++i) {
    EXPECT_EQ(a.tokens[i].choice, b.tokens[i].choice);
    EXPECT_EQ(a.tokens[i].token_id, b.tokens[i].token_id);
    EXPECT_EQ(a.tokens[i].logprob, b.tokens[i].logprob);
    ASSERT_EQ(a.tokens[i].top.size(), b.tokens[i].top.size());
    for (size_t k = 0; k < a.tokens[i].top.size(); ++k) {
      EXPECT_EQ(a.tokens[i].top[k].token_id, b.tokens[i].top[k].token_id);
      EXPECT_EQ(a.tokens[i].top[k].logprob, b.tokens[i].top[k].logprob);
    }
  }
  ASSERT_EQ(a.ends.size(), b.ends.size());
  for (size_t i = 0; i < a.ends.size(); ++i) {
    EXPECT_EQ(a.ends[i].choice, b.ends[i].choice);
    EXPECT_EQ(a.ends[i].reason, b.ends[i].reason);
    EXPECT_EQ(a.ends[i].stop_token, b.ends[i].stop_token);
  }
}

TEST(RecordedOutputTest, ComesBackAsItWas) {
  for (const bool logprobs : {false, true}) {
    const RecordedOutput output = Sample(logprobs);
    const std::string bytes = EncodeOutput(kKey, output, kStored);
    const absl::StatusOr<DecodedOutput> decoded = DecodeOutput(kKey, bytes);
    ASSERT_OK(decoded);
    EXPECT_EQ(decoded->stored_at, kStored);
    ExpectEqual(decoded->output, output);
    if (!logprobs) {
      EXPECT_LT(bytes.size(), 5 * output.tokens.size()) << "a few bytes a token";
    }
  }
  ASSERT_OK(DecodeOutput(kKey, EncodeOutput(kKey, RecordedOutput(), kStored)));
}

TEST(RecordedOutputTest, EveryDamagedBitIsSeen) {
  const std::string bytes = EncodeOutput(kKey, Sample(false), kStored);
  for (size_t bit = 0; bit < bytes.size() * 8; bit += 5) {
    std::string damaged = bytes;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_EQ(DecodeOutput(kKey, damaged).status().code(), absl::StatusCode::kDataLoss) << bit;
  }
}

TEST(RecordedOutputTest, WhatIsCutOffOrNotOursIsSeen) {
  const std::string bytes = EncodeOutput(kKey, Sample(true), kStored);
  for (size_t size = 0; size < bytes.size(); size += 7) EXPECT_FALSE(DecodeOutput(kKey, bytes.substr(0, size)).ok());
  EXPECT_FALSE(DecodeOutput(kKey, bytes + "x").ok());
  EXPECT_FALSE(DecodeOutput(CacheKey(32, 'o'), bytes).ok()) << "it lies under another key";
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    std::string noise(random() % 200, '\0');
    for (char& byte : noise) byte = static_cast<char>(random());
    EXPECT_FALSE(DecodeOutput(kKey, noise).ok());
  }
}

TEST(RecordedOutputTest, WhatADrainHasCutIsNotComplete) {
  RecordedOutput output = Sample(false);
  EXPECT_TRUE(output.complete());
  output.ends[0].reason = FinishReason::kInsufficientSystemResource;
  EXPECT_FALSE(output.complete());
}

}  // namespace
}  // namespace hadal::response_cache
