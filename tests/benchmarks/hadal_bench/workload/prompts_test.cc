// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/workload/prompts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <set>

#include "absl/strings/str_split.h"

namespace hadal::bench {
namespace {

int Words(const std::string& text) { return 1 + static_cast<int>(std::count(text.begin(), text.end(), ' ')); }

PlannedRequest Request(int tokens, uint64_t seed) {
  PlannedRequest request;
  request.prompt_tokens = tokens;
  request.prompt_seed = seed;
  return request;
}

TEST(PromptsTest, HasAsManyWordsAsTheScaleSays) {
  const Prompts prompts;
  const TokenScale scale{.overhead = 10, .per_word = 1.5, .measured = true};
  EXPECT_EQ(Words(prompts.Make(Request(160, 1), 0, scale, 0)), 100);
  EXPECT_EQ(Words(prompts.Make(Request(5, 1), 0, scale, 0)), 1);  // the template alone is longer
  EXPECT_EQ(Words(prompts.Make(Request(450'010, 99u << 20), 0, scale, 0)), 300'000);
}

TEST(PromptsTest, SeedsDecideTheTextFromItsFirstWord) {
  const Prompts prompts;
  EXPECT_EQ(prompts.Make(Request(50, 4), 0, {}, 0), prompts.Make(Request(50, 4), 1, {}, 0));
  const std::string one = prompts.Make(Request(50, 4), 0, {}, 0), other = prompts.Make(Request(50, 5), 0, {}, 0);
  EXPECT_NE(one.substr(0, one.find(' ')), other.substr(0, other.find(' ')));
}

TEST(PromptsTest, PromptsOfDifferentSaltsShareNoPrefix) {
  const Prompts prompts;
  const TokenScale scale{.overhead = 0, .per_word = 1, .measured = true};
  PlannedRequest of_trace = Request(600, 4);
  of_trace.prefix_blocks = {46};
  for (const PlannedRequest& request : {Request(50, 4), of_trace}) {
    const std::string one = prompts.Make(request, 0, scale, 1), other = prompts.Make(request, 0, scale, 2);
    EXPECT_EQ(Words(one), Words(other));
    EXPECT_NE(one.substr(0, one.find(' ')), other.substr(0, other.find(' ')));
    EXPECT_EQ(one, prompts.Make(request, 0, scale, 1));
  }
}

TEST(PromptsTest, BlocksOfATraceShareTheirText) {
  const Prompts prompts;
  const TokenScale scale{.overhead = 0, .per_word = 1, .measured = true};
  PlannedRequest one = Request(1500, 1), other = Request(1300, 2);
  one.prefix_blocks = {46, 47, 48};
  other.prefix_blocks = {46, 47, 99};
  const std::string a = prompts.Make(one, 0, scale, 0), b = prompts.Make(other, 0, scale, 0);
  EXPECT_EQ(Words(a), 1500);
  EXPECT_EQ(Words(b), 1300);
  const auto [end, unused] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  const int shared = Words(std::string(a.begin(), end));
  EXPECT_GE(shared, 1024);
  EXPECT_LE(shared, 1026);
}

TEST(PromptsTest, EveryWordIsThereAsOftenAsTheOthers) {
  const Prompts prompts;
  const std::string once = prompts.EveryWord(1, 7), twice = prompts.EveryWord(2, 7);
  EXPECT_EQ(Words(once), 1 + Prompts::different_words());
  EXPECT_EQ(twice, once + once.substr(once.find(' ')));
  std::vector<std::string> words = absl::StrSplit(once, ' ');
  EXPECT_EQ(std::set<std::string>(words.begin(), words.end()).size(), words.size());
  // Words of prompts come from no other list.
  const TokenScale scale{.overhead = 0, .per_word = 1, .measured = true};
  words = absl::StrSplit(prompts.Make(Request(5000, 3), 0, scale, 0), ' ');
  const std::set<std::string> used(words.begin() + 1, words.end());
  EXPECT_EQ(used.size(), Prompts::different_words());
  for (const std::string& word : used) EXPECT_THAT(once, testing::HasSubstr(" " + word));
  EXPECT_NE(once.substr(0, once.find(' ')), prompts.EveryWord(1, 8).substr(0, once.find(' ')));
}

TEST(PromptsTest, AFileGivesItsLinesInTurn) {
  const std::string path = testing::TempDir() + "/prompts.jsonl";
  std::ofstream(path) << "plain text\n\n\"quoted\\ttext\"\n{\"prompt\": \"from an object\"}\n";
  const auto prompts = Prompts::FromFile(path);
  ASSERT_TRUE(prompts.ok()) << prompts.status();
  EXPECT_EQ(prompts->Make(Request(9, 1), 0, {}, 0), "plain text");
  EXPECT_EQ(prompts->Make(Request(9, 1), 1, {}, 0), "quoted\ttext");
  EXPECT_EQ(prompts->Make(Request(9, 1), 2, {}, 0), "from an object");
  EXPECT_EQ(prompts->Make(Request(9, 1), 3, {}, 0), "plain text");
  std::ofstream(path) << "{\"text\": 1}\n";
  EXPECT_THAT(std::string(Prompts::FromFile(path).status().message()), testing::HasSubstr("\"prompt\""));
  std::ofstream(path) << "\n";
  EXPECT_THAT(std::string(Prompts::FromFile(path).status().message()), testing::HasSubstr("holds no prompts"));
}

}  // namespace
}  // namespace hadal::bench
