// SPDX-License-Identifier: Apache-2.0
#include "server/service/response_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <utility>
#include <vector>

namespace hadal::service {
namespace {

RecordedOutput Output(std::vector<int32_t> ids) {
  RecordedOutput output;
  for (const int32_t id : ids) output.tokens.push_back({.choice = 0, .token_id = id});
  output.ends.push_back({.choice = 0, .reason = request::FinishReason::kStop});
  return output;
}

request::Request Greedy() {
  request::Request request;
  request.prompt = {1, 2, 3};
  request.max_tokens = 8;
  request.sampling.temperature = 0;
  return request;
}

std::string KeyOf(const request::Request& request) { return OutputKey("model", request, false, {}); }

TEST(OutputKeyTest, WhateverChangesTheTokensChangesTheKey) {
  const std::string key = KeyOf(Greedy());
  ASSERT_FALSE(key.empty());
  EXPECT_EQ(KeyOf(Greedy()), key);
  const std::vector<std::function<void(request::Request&)>> changes = {
      [](auto& r) {
        r.prompt = {1, 2};
      },
      [](auto& r) { r.max_tokens = 9; },
      [](auto& r) { r.min_tokens = 1; },
      [](auto& r) { r.n = 2; },
      [](auto& r) { r.tenant = "acme"; },
      [](auto& r) { r.cache_salt = 7; },
      [](auto& r) { r.ignore_eos = true; },
      [](auto& r) { r.stop_token_ids = {5}; },
      [](auto& r) { r.top_logprobs = 0; },
      [](auto& r) { r.sampling.repetition_penalty = 1.5f; },
      [](auto& r) { r.sampling.frequency_penalty = 0.5f; },
      [](auto& r) { r.sampling.presence_penalty = 0.5f; },
      [](auto& r) {
        r.sampling.logit_bias = {{1, 2.0f}};
      },
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    request::Request changed = Greedy();
    changes[i](changed);
    EXPECT_NE(KeyOf(changed), key) << "change " << i;
  }
  EXPECT_NE(OutputKey("other", Greedy(), false, {}), key);
  EXPECT_NE(OutputKey("model", Greedy(), false, {"stop"}), key);
  EXPECT_NE(OutputKey("model", Greedy(), false, {"ab", "c"}), OutputKey("model", Greedy(), false, {"a", "bc"}));
}

TEST(OutputKeyTest, WhatMayDifferTheNextTimeHasNone) {
  request::Request request = Greedy();
  request.sampling.temperature = 1;
  request.sampling.seed = 3;
  EXPECT_EQ(OutputKey("model", request, /*has_own_seed=*/false, {}), "");
  EXPECT_NE(OutputKey("model", request, /*has_own_seed=*/true, {}), "");
  request = Greedy();
  request.prompt_logprobs = true;
  EXPECT_EQ(KeyOf(request), "");
}

TEST(OutputKeyTest, GreedyRequestsDoNotAskForTheSeed) {
  request::Request request = Greedy();
  request.sampling.seed = 99;
  EXPECT_EQ(KeyOf(request), KeyOf(Greedy()));
}

TEST(ResponseCacheTest, GivesBackWhatWasAdded) {
  ResponseCache cache(1 << 16);
  EXPECT_EQ(cache.Find("a"), nullptr);
  cache.Add("a", Output({4, 5}));
  ASSERT_NE(cache.Find("a"), nullptr);
  EXPECT_EQ(cache.Find("a")->tokens[1].token_id, 5);
  cache.Add("a", Output({6}));
  EXPECT_EQ(cache.Find("a")->tokens[0].token_id, 6);
}

TEST(ResponseCacheTest, StaysWithinItsBytesAndDropsTheLeastRecentlyUsed) {
  ResponseCache probe(1 << 20);
  probe.Add("0", Output({1}));
  const int64_t one = probe.bytes();
  ResponseCache cache(8 * one);
  for (const char* key : {"0", "1", "2", "3", "4", "5", "6", "7"}) cache.Add(key, Output({1}));
  EXPECT_EQ(cache.bytes(), 8 * one);
  ASSERT_NE(cache.Find("0"), nullptr);
  cache.Add("8", Output({1}));
  EXPECT_EQ(cache.bytes(), 8 * one);
  EXPECT_NE(cache.Find("0"), nullptr) << "it was just used";
  EXPECT_EQ(cache.Find("1"), nullptr);
}

TEST(ResponseCacheTest, TakesNothingThatWouldPushMostOfTheRestAside) {
  ResponseCache cache(4096);
  cache.Add("long", Output(std::vector<int32_t>(1000, 1)));
  EXPECT_EQ(cache.Find("long"), nullptr);
  EXPECT_EQ(cache.bytes(), 0);
}

TEST(OutputRecorderTest, KeepsAnOutputThatEndedWell) {
  auto cache = std::make_shared<ResponseCache>(1 << 16);
  OutputRecorder recorder(cache, "key");
  request::StreamBatch batch;
  batch.tokens.push_back({.choice = 0, .token_id = 4});
  recorder.Listen(batch);
  EXPECT_EQ(cache->Find("key"), nullptr);
  batch.tokens[0].token_id = 5;
  batch.ends.push_back({.choice = 0, .reason = request::FinishReason::kLength});
  batch.closed = true;
  recorder.Listen(batch);
  ASSERT_NE(cache->Find("key"), nullptr);

  request::TokenStream stream(16);
  cache->Find("key")->ReplayInto(stream);
  const request::StreamBatch again = stream.Read();
  ASSERT_EQ(again.tokens.size(), 2u);
  EXPECT_EQ(again.tokens[0].token_id, 4);
  EXPECT_EQ(again.tokens[1].token_id, 5);
  EXPECT_EQ(again.ends.at(0).reason, request::FinishReason::kLength);
  EXPECT_TRUE(again.closed && again.started && again.status.ok());
}

TEST(OutputRecorderTest, ForgetsWhatWasCutOff) {
  auto cache = std::make_shared<ResponseCache>(1 << 16);
  request::StreamBatch batch;
  batch.closed = true;
  batch.status = absl::CancelledError("gone");
  OutputRecorder(cache, "cancelled").Listen(batch);
  batch.status = absl::OkStatus();
  batch.ends.push_back({.choice = 0, .reason = request::FinishReason::kInsufficientSystemResource});
  OutputRecorder(cache, "drained").Listen(batch);
  EXPECT_EQ(cache->bytes(), 0);
}

}  // namespace
}  // namespace hadal::service
