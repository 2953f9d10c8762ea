// SPDX-License-Identifier: Apache-2.0
#include "server/response_cache/output_key.h"

#include <functional>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "gtest/gtest.h"

namespace hadal::response_cache {
namespace {

struct Asked {
  OutputFacts facts;
  request::Request request;
};

Asked Greedy() {
  Asked asked;
  asked.facts = {.model = "fp_1", .dtype = "bfloat16", .device = "cpu", .tenant = "acme"};
  asked.request.prompt = {1, 2, 3};
  asked.request.max_tokens = 8;
  asked.request.sampling.temperature = 0;
  return asked;
}

CacheKey KeyOf(const Asked& asked) { return OutputKey(asked.facts, asked.request); }

using Change = std::function<void(Asked&, int value)>;

const char* Text(int value) {
  static const std::vector<std::string> texts = [] {
    std::vector<std::string> made;
    for (int i = 0; i < 64; ++i) made.push_back("value " + std::to_string(i));
    return made;
  }();
  return texts[value % 64].c_str();
}

// Each changes one thing that decides the tokens; different values give different requests.
const std::vector<Change>& Changes() {
  static const auto* const changes = new std::vector<Change>{
      [](Asked& a, int v) { a.facts.model = Text(v); },
      [](Asked& a, int v) { a.facts.dtype = Text(v); },
      [](Asked& a, int v) { a.facts.device = Text(v); },
      [](Asked& a, int v) { a.facts.tenant = Text(v); },
      [](Asked& a, int v) { a.facts.user = Text(v); },
      [](Asked& a, int v) { a.facts.cache_salt = Text(v); },
      [](Asked& a, int v) { a.facts.text_form = Text(v); },
      [](Asked& a, int v) { a.facts.grammar = Text(v); },
      [](Asked& a, int v) { a.facts.stop_strings = {Text(v)}; },
      [](Asked& a, int v) {
        a.facts.stop_strings = {"first", Text(v)};
      },
      [](Asked& a, int v) { a.request.prompt.push_back(100 + v); },
      [](Asked& a, int v) { a.request.prompt[1] = 100 + v; },
      [](Asked& a, int v) { a.request.max_tokens = 100 + v; },
      [](Asked& a, int v) { a.request.min_tokens = 1 + v; },
      [](Asked& a, int v) { a.request.n = 2 + v; },
      [](Asked& a, int v) { a.request.top_logprobs = v; },
      [](Asked& a, int v) { a.request.ignore_eos = true; },
      [](Asked& a, int v) { a.request.stop_token_ids = {v}; },
      [](Asked& a, int v) { a.request.sampling.top_k = 1 + v; },
      [](Asked& a, int v) { a.request.sampling.top_p = 0.5f + 0.001f * static_cast<float>(v); },
      [](Asked& a, int v) { a.request.sampling.min_p = 0.001f * static_cast<float>(v + 1); },
      [](Asked& a, int v) { a.request.sampling.repetition_penalty = 1.5f + static_cast<float>(v); },
      [](Asked& a, int v) { a.request.sampling.frequency_penalty = 0.5f + static_cast<float>(v); },
      [](Asked& a, int v) { a.request.sampling.presence_penalty = 0.5f + static_cast<float>(v); },
      [](Asked& a, int v) {
        a.request.sampling.temperature = 0.5f;
        a.request.sampling.seed = static_cast<uint64_t>(v);
        a.facts.has_own_seed = true;
      },
      [](Asked& a, int v) {
        a.request.sampling.temperature = 0.001f * static_cast<float>(v + 1);
        a.facts.has_own_seed = true;
      },
      [](Asked& a, int v) {
        a.request.sampling.logit_bias = {{v, 2.0f}};
      },
      [](Asked& a, int v) {
        a.request.sampling.logit_bias = {{7, 3.0f + static_cast<float>(v)}};
      },
  };
  return *changes;
}

TEST(OutputKeyTest, EachFieldThatChangesTheTokensChangesTheKey) {
  const CacheKey key = KeyOf(Greedy());
  ASSERT_EQ(key.size(), 32u);
  EXPECT_EQ(KeyOf(Greedy()), key);
  for (size_t i = 0; i < Changes().size(); ++i) {
    Asked changed = Greedy();
    Changes()[i](changed, 3);
    EXPECT_NE(KeyOf(changed), key) << "change " << i;
  }
}

// What a request is, in words: equal exactly for equal requests.
std::string Describe(const std::vector<std::pair<size_t, int>>& applied) {
  std::string text;
  for (const auto& [change, value] : applied) text += std::to_string(change) + "=" + std::to_string(value) + ";";
  return text;
}

TEST(OutputKeyTest, TenThousandRandomRequestsHaveAsManyKeysAsTheyAreDifferent) {
  std::mt19937 random(7);
  // Those that set the same field twice, or append, are left out: the last value would count.
  const std::vector<size_t> independent = {0,  1,  2,  3,  4,  5,  6,  7,  8,  11, 12, 13,
                                           14, 15, 17, 18, 19, 20, 21, 22, 23, 24, 26};
  std::unordered_map<CacheKey, std::string> by_key;
  std::unordered_map<std::string, CacheKey> by_text;
  int pairs = 0;
  for (int round = 0; round < 10000; ++round) {
    // A request, and one that differs from it in one field.
    Asked asked = Greedy(), other = Greedy();
    std::vector<std::pair<size_t, int>> applied;
    for (const size_t change : independent) {
      if (random() % 4 == 0) applied.emplace_back(change, static_cast<int>(random() % 20));
    }
    if (applied.empty()) continue;
    std::vector<std::pair<size_t, int>> differing = applied;
    auto& one = differing[random() % differing.size()];
    one.second = (one.second + 1 + static_cast<int>(random() % 19)) % 20;
    for (const auto& [change, value] : applied) Changes()[change](asked, value);
    for (const auto& [change, value] : differing) Changes()[change](other, value);
    EXPECT_NE(KeyOf(asked), KeyOf(other)) << Describe(applied) << " and " << Describe(differing);
    ++pairs;
    for (const auto& [request, text] : {std::pair(&asked, Describe(applied)), std::pair(&other, Describe(differing))}) {
      const CacheKey key = KeyOf(*request);
      const auto [known, is_new] = by_key.emplace(key, text);
      EXPECT_TRUE(is_new || known->second == text) << known->second << " and " << text;
      const auto [same, first] = by_text.emplace(text, key);
      EXPECT_TRUE(first || same->second == key) << text;
    }
  }
  EXPECT_GT(pairs, 9000);
}

TEST(OutputKeyTest, WhereOneTextEndsCounts) {
  Asked a = Greedy(), b = Greedy();
  a.facts.stop_strings = {"ab", "c"};
  b.facts.stop_strings = {"a", "bc"};
  EXPECT_NE(KeyOf(a), KeyOf(b));
  a = b = Greedy();
  a.facts.tenant = "ab";
  a.facts.user = "c";
  b.facts.tenant = "a";
  b.facts.user = "bc";
  EXPECT_NE(KeyOf(a), KeyOf(b));
}

TEST(OutputKeyTest, WhoAsksAndHowLongTheyWaitDoesNotCount) {
  Asked asked = Greedy();
  asked.request.id = "other";
  asked.request.tenant = "named in the facts, or not at all";
  asked.request.priority = request::Priority::kBatch;
  asked.request.cache_salt = 9;  // another in each process
  asked.request.arrival = absl::FromUnixSeconds(5);
  asked.request.deadline = absl::FromUnixSeconds(6);
  asked.request.first_token_by = absl::FromUnixSeconds(6);
  asked.request.may_wait = false;
  asked.request.thinking = true;
  EXPECT_EQ(KeyOf(asked), KeyOf(Greedy()));
}

TEST(OutputKeyTest, WhatMayDifferTheNextTimeHasNone) {
  Asked asked = Greedy();
  asked.request.sampling.temperature = 1;
  asked.request.sampling.seed = 3;
  EXPECT_EQ(KeyOf(asked), "");
  asked.facts.has_own_seed = true;
  EXPECT_NE(KeyOf(asked), "");
  asked = Greedy();
  asked.request.prompt_logprobs = true;
  EXPECT_EQ(KeyOf(asked), "");
}

TEST(OutputKeyTest, GreedyRequestsDoNotAskForTheSeed) {
  Asked asked = Greedy();
  asked.request.sampling.seed = 99;
  EXPECT_EQ(KeyOf(asked), KeyOf(Greedy()));
}

}  // namespace
}  // namespace hadal::response_cache
