// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/bpe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>

namespace hadal::tokenizer {
namespace {

using ::testing::ElementsAre;
using Ids = std::vector<int32_t>;

// A vocabulary grown by random merges over a few letters, with the textbook method beside it.
struct RandomBpe {
  Vocabulary vocabulary;
  std::unique_ptr<Bpe> bpe;
  std::map<std::pair<int32_t, int32_t>, std::pair<int, int32_t>> merges;  // pair -> (rank, token)

  explicit RandomBpe(uint32_t seed, bool unique) {
    std::mt19937 random(seed);
    int32_t next = 0;
    for (const char c : std::string_view("abcd")) vocabulary.Add(next++, std::string(1, c), true);
    bpe = std::make_unique<Bpe>(&vocabulary, Bpe::Options{});
    bpe->ReserveMerges(64);
    for (int rank = 0; static_cast<int>(merges.size()) < 60 && rank < 2000; ++rank) {
      const int32_t left = static_cast<int32_t>(random() % next), right = static_cast<int32_t>(random() % next);
      const std::string joined = std::string(vocabulary.Bytes(left)) + std::string(vocabulary.Bytes(right));
      if (joined.size() > 12 || merges.count({left, right})) continue;
      int32_t id = vocabulary.Find(joined);
      if (id >= 0 && unique) continue;
      if (id < 0) vocabulary.Add(id = next++, joined, true);
      merges[{left, right}] = {static_cast<int>(merges.size()), id};
      bpe->AddMerge(left, right, id);
    }
    bpe->Finish();
  }

  Ids Textbook(std::string_view text) const {
    Ids ids;
    for (const char c : text) ids.push_back(vocabulary.Find(std::string_view(&c, 1)));
    for (;;) {
      int best_rank = INT_MAX;
      size_t best = 0;
      for (size_t i = 0; i + 1 < ids.size(); ++i) {
        const auto it = merges.find({ids[i], ids[i + 1]});
        if (it != merges.end() && it->second.first < best_rank) {
          best_rank = it->second.first;
          best = i;
        }
      }
      if (best_rank == INT_MAX) return ids;
      ids[best] = merges.at({ids[best], ids[best + 1]}).second;
      ids.erase(ids.begin() + static_cast<ptrdiff_t>(best) + 1);
    }
  }

  Ids Encode(std::string_view text) const {
    Bpe::Scratch scratch;
    Ids ids;
    bpe->Encode(text, true, &scratch, &ids);
    return ids;
  }
};

TEST(BpeTest, ShortAndLongPiecesFollowTheTextbook) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    const RandomBpe random(seed, /*unique=*/true);
    std::mt19937 text_random(seed);
    for (const size_t size : {1, 2, 3, 10, 40, 127, 128, 129, 300}) {
      for (int round = 0; round < 20; ++round) {
        std::string text(size, 'a');
        for (char& c : text) c = "abcd"[text_random() % 4];
        ASSERT_EQ(random.Encode(text), random.Textbook(text)) << text;
        ASSERT_EQ(random.Encode(text), random.Textbook(text)) << "second time, from memory: " << text;
      }
    }
  }
}

TEST(BpeTest, KeepsEveryByteWhenMergesShareAToken) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    const RandomBpe random(seed, /*unique=*/false);
    std::string text;
    for (int i = 0; i < 200; ++i) text += "abcd"[(i * 7 + seed) % 4];
    std::string joined;
    for (const int32_t id : random.Encode(text)) joined += random.vocabulary.Bytes(id);
    EXPECT_EQ(joined, text);
  }
}

TEST(BpeTest, RefusesAPairTwice) {
  Vocabulary vocabulary;
  vocabulary.Add(0, "a", true);
  vocabulary.Add(1, "aa", true);
  Bpe bpe(&vocabulary, {});
  bpe.ReserveMerges(1);
  EXPECT_TRUE(bpe.AddMerge(0, 0, 1));
  EXPECT_FALSE(bpe.AddMerge(0, 0, 1));
}

TEST(BpeTest, BytesWithoutATokenBecomeUnkOrNothing) {
  Vocabulary vocabulary;
  vocabulary.Add(0, "a", true);
  vocabulary.Add(1, "?", true);
  const auto encode = [&](Bpe::Options options) {
    Bpe bpe(&vocabulary, options);
    bpe.ReserveMerges(0);
    bpe.Finish();
    Bpe::Scratch scratch;
    Ids ids;
    bpe.Encode("axxa", true, &scratch, &ids);
    return ids;
  };
  EXPECT_THAT(encode({}), ElementsAre(0, 0));
  EXPECT_THAT(encode({.unk_id = 1}), ElementsAre(0, 1, 1, 0));
  EXPECT_THAT(encode({.unk_id = 1, .fuse_unk = true}), ElementsAre(0, 1, 0));
}

TEST(VocabularyTest, FindsWhatWasAddedAndNothingElse) {
  Vocabulary vocabulary;
  for (int32_t id = 0; id < 5000; ++id) ASSERT_TRUE(vocabulary.Add(id * 2, "token" + std::to_string(id), true));
  for (int32_t id = 0; id < 5000; ++id) ASSERT_EQ(vocabulary.Find("token" + std::to_string(id)), id * 2);
  EXPECT_EQ(vocabulary.Find("token5000"), -1);
  EXPECT_FALSE(vocabulary.Add(4, "other", true)) << "the id is taken";
  EXPECT_FALSE(vocabulary.Add(5, "token1", true)) << "the bytes are known";
  EXPECT_TRUE(vocabulary.Add(5, "token1", false));
  EXPECT_EQ(vocabulary.size(), 9999);
  EXPECT_FALSE(vocabulary.IsValid(7));
  EXPECT_EQ(Vocabulary().Find("a"), -1);
}

}  // namespace
}  // namespace hadal::tokenizer
