// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <random>
#include <thread>

#include "tests/models/tokenizer/test_data.h"

namespace hadal::tokenizer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Ids = std::vector<int32_t>;

constexpr EncodeOptions kLikeHuggingFace{.allow_added_tokens = true};

TEST(TokenizerTest, EncodingEndsWhenThereAreTooManyTokens) {
  const auto tokenizer = LoadTokenizer("deepseek_v3");
  ASSERT_NE(tokenizer, nullptr);
  const std::string text = "one two three four five six seven";
  const size_t count = tokenizer->Encode(text)->size();
  ASSERT_GT(count, 3u);
  EXPECT_TRUE(tokenizer->Encode(text, {.max_tokens = count}).ok());
  const absl::Status status = tokenizer->Encode(text, {.max_tokens = count - 1}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(status.message()), HasSubstr("more than " + std::to_string(count - 1) + " tokens"));
  const TextSegment segments[] = {{text, false}};
  EXPECT_TRUE(tokenizer->EncodeSegments(segments, false, count).ok());
  EXPECT_EQ(tokenizer->EncodeSegments(segments, false, 1).status().code(), absl::StatusCode::kOutOfRange);
}

class StyleTest : public ::testing::TestWithParam<std::string> {};

TEST_P(StyleTest, EncodesAsTokenizersDoes) {
  const auto tokenizer = LoadTokenizer(GetParam());
  ASSERT_NE(tokenizer, nullptr);
  const nlohmann::json goldens = ReadJson("encodings.json").at(GetParam());
  ASSERT_GT(goldens.size(), 100u);
  for (const nlohmann::json& golden : goldens) {
    const auto text = golden.at("text").get<std::string>();
    const auto ids = tokenizer->Encode(text, kLikeHuggingFace);
    ASSERT_TRUE(ids.ok()) << ids.status() << " for " << text;
    EXPECT_EQ(*ids, golden.at("ids").get<Ids>()) << golden.at("text");
    const auto with_special = tokenizer->Encode(text, {.add_special_tokens = true, .allow_added_tokens = true});
    EXPECT_EQ(*with_special, golden.at("ids_with_special").get<Ids>()) << golden.at("text");
  }
}

TEST_P(StyleTest, NoTextHasFewerTokensThanItsBytesAllow) {
  const auto tokenizer = LoadTokenizer(GetParam());
  ASSERT_NE(tokenizer, nullptr);
  const size_t most = tokenizer->max_bytes_per_token();
  if (most == 0) GTEST_SKIP() << "this tokenizer leaves text out";
  std::vector<std::string> texts = {std::string(5000, ' '), std::string(5000, '='), std::string(5000, '\n')};
  for (const nlohmann::json& golden : ReadJson("encodings.json").at(GetParam())) texts.push_back(golden.at("text"));
  // What NFC shortens most.
  std::string spelled;
  for (int i = 0; i < 1000; ++i) spelled += "\u1FBE\u0308\u0341\u212A";
  texts.push_back(spelled);
  for (const std::string& text : texts) {
    const auto ids = tokenizer->Encode(text, kLikeHuggingFace);
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_GE(ids->size() * most, text.size()) << text.substr(0, 100);
  }
}

TEST_P(StyleTest, UserTextNeverBecomesAControlToken) {
  const auto tokenizer = LoadTokenizer(GetParam());
  ASSERT_NE(tokenizer, nullptr);
  std::vector<std::string> attacks;
  for (int32_t id = 0; id < tokenizer->vocab_size(); ++id) {
    if (tokenizer->IsControl(id)) attacks.emplace_back(tokenizer->TokenBytes(id));
  }
  ASSERT_FALSE(attacks.empty());
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {
    std::string text;
    for (int part = 0; part < 4; ++part) {
      text += attacks[random() % attacks.size()];
      if (random() % 2) text += "x \n"[random() % 3];
    }
    const auto ids = tokenizer->Encode(text);
    ASSERT_TRUE(ids.ok());
    for (const int32_t id : *ids)
      ASSERT_FALSE(tokenizer->IsControl(id)) << text << " gives " << tokenizer->TokenBytes(id);
    // Nothing is lost either: the bytes come back.
    if (GetParam() != "unusual" && GetParam() != "gpt2" && GetParam() != "llama2_first" && GetParam() != "metaspace") {
      ASSERT_EQ(tokenizer->Decode(*ids, true), text);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Styles, StyleTest,
                         ::testing::Values("deepseek_v3", "deepseek_llm", "deepseek_coder", "qwen2", "llama3", "gpt2",
                                           "unusual", "llama2", "llama2_first", "metaspace"),
                         [](const auto& info) { return info.param; });

TEST(TokenizerTest, LettersThatAreAddedTokensAreOrdinaryText) {
  const auto llm = LoadTokenizer("deepseek_llm");
  const std::optional<int32_t> letter = llm->TokenId("ü");
  ASSERT_TRUE(letter.has_value());
  EXPECT_TRUE(llm->IsAdded(*letter));
  EXPECT_FALSE(llm->IsControl(*letter));
  EXPECT_THAT(*llm->Encode("ü"), ElementsAre(*letter));
  EXPECT_THAT(*llm->Encode("÷"), ElementsAre(*llm->TokenId("÷")));
  EXPECT_EQ(llm->Decode({*letter}, true), "ü");
}

TEST(TokenizerTest, TellsControlTokensFromText) {
  const auto tokenizer = LoadTokenizer("deepseek_v3");
  const int32_t think = *tokenizer->TokenId("<think>");
  EXPECT_THAT(*tokenizer->Encode("<think>", kLikeHuggingFace), ElementsAre(think));
  EXPECT_GT(tokenizer->Encode("<think>")->size(), 1u);
  EXPECT_TRUE(tokenizer->IsControl(think));
  EXPECT_FALSE(tokenizer->IsSpecial(think));
  EXPECT_TRUE(tokenizer->IsSpecial(*tokenizer->bos_id()));
  EXPECT_FALSE(tokenizer->IsAdded(*tokenizer->TokenId("a")));
  EXPECT_FALSE(tokenizer->TokenId("no such token").has_value());
}

TEST(TokenizerTest, SegmentsJoinAsOneText) {
  const auto tokenizer = LoadTokenizer("deepseek_v3");
  const TextSegment plain[] = {{"User: ", true}, {"hello wor", false}, {"ld", false}, {"\n\nAssistant:", true}};
  EXPECT_EQ(*tokenizer->EncodeSegments(plain, false), *tokenizer->Encode("User: hello world\n\nAssistant:"));
  const TextSegment mixed[] = {{"<｜User｜>", true}, {"<｜User｜>", false}, {"<think>", true}};
  const Ids ids = *tokenizer->EncodeSegments(mixed, true);
  EXPECT_EQ(ids[0], *tokenizer->bos_id());
  EXPECT_EQ(std::count(ids.begin(), ids.end(), *tokenizer->TokenId("<｜User｜>")), 1);
  EXPECT_EQ(ids.back(), *tokenizer->TokenId("<think>"));
  // A control token cannot be assembled across a border either.
  const TextSegment halves[] = {{"<thi", true}, {"nk>", false}};
  const absl::StatusOr<Ids> across = tokenizer->EncodeSegments(halves, false);
  ASSERT_TRUE(across.ok()) << across.status();
  for (const int32_t id : *across) EXPECT_FALSE(tokenizer->IsControl(id));
}

TEST(TokenizerTest, RefusesInvalidUtf8WithItsPlace) {
  const auto tokenizer = LoadTokenizer("deepseek_v3");
  EXPECT_THAT(std::string(tokenizer->Encode("ab\xFF").status().message()), HasSubstr("UTF-8 at byte 2"));
  EXPECT_FALSE(tokenizer->Encode("\xED\xA0\x80").ok());  // a surrogate
  const TextSegment segments[] = {{"ab", true}, {"c\xC3", false}};
  EXPECT_THAT(std::string(tokenizer->EncodeSegments(segments, false).status().message()), HasSubstr("at byte 3"));
}

TEST(TokenizerTest, EmptyTextHasNoTokens) {
  for (const char* style : {"deepseek_v3", "gpt2", "unusual"}) {
    EXPECT_TRUE(LoadTokenizer(style)->Encode("", kLikeHuggingFace)->empty()) << style;
  }
}

TEST(TokenizerTest, DecodeSkipsSpecialTokensOnly) {
  const auto tokenizer = LoadTokenizer("deepseek_v3");
  Ids ids = *tokenizer->Encode("<｜begin▁of▁sentence｜><think>hi<｜end▁of▁sentence｜>", kLikeHuggingFace);
  EXPECT_EQ(tokenizer->Decode(ids, true), "<think>hi");
  EXPECT_EQ(tokenizer->Decode(ids, false), "<｜begin▁of▁sentence｜><think>hi<｜end▁of▁sentence｜>");
  ids.push_back(tokenizer->vocab_size());
  ids.push_back(-1);
  ids.push_back(INT32_MAX);
  EXPECT_EQ(tokenizer->Decode(ids, true), "<think>hi");
  EXPECT_EQ(tokenizer->TokenBytes(-1), "");
  EXPECT_FALSE(tokenizer->IsValid(tokenizer->vocab_size()));
}

TEST(TokenizerTest, TakesEndTokensFromBothConfigs) {
  const std::string json = ReadData("deepseek_v3.tokenizer.json");
  const auto one = Tokenizer::FromJson(json, kDeepSeekConfig, R"({"eos_token_id": [1, 7, 1]})");
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_THAT((*one)->eos_ids(), ElementsAre(1, 7));
  EXPECT_EQ((*one)->eos_id(), 1);
  EXPECT_EQ((*one)->model_max_length(), 4096);
  const auto other = Tokenizer::FromJson(json, "", R"({"eos_token_id": 5, "bos_token_id": 0})");
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_THAT((*other)->eos_ids(), ElementsAre(5));
  EXPECT_EQ((*other)->bos_token(), "<｜begin▁of▁sentence｜>");
  EXPECT_FALSE((*Tokenizer::FromJson(json))->eos_id().has_value());
}

TEST(TokenizerTest, HonoursAddBosTokenOfTheConfig) {
  nlohmann::json json = ReadJson("deepseek_v3.tokenizer.json");
  nlohmann::json config = nlohmann::json::parse(kDeepSeekConfig);
  const auto first = [&] {
    return (*Tokenizer::FromJson(json.dump(), config.dump()))->Encode("a", {.add_special_tokens = true})->front();
  };
  config["tokenizer_class"] = "LlamaTokenizerFast";
  config["add_bos_token"] = false;
  EXPECT_NE(first(), 0);
  json["post_processor"] = nullptr;
  config["add_bos_token"] = true;
  EXPECT_EQ(first(), 0);
}

TEST(TokenizerTest, LongRunsTakeLinearTime) {
  const auto start = std::chrono::steady_clock::now();
  for (const char* style : {"deepseek_v3", "deepseek_llm", "deepseek_coder", "qwen2", "llama3", "gpt2"}) {
    const auto tokenizer = LoadTokenizer(style);
    for (const std::string unit :
         {"a", " ", "\n", "中", "1", "!", "e\u0301", "<", "\u0301", " \n", "\xF0\x9F\xA6\x99", "'s"}) {
      std::string text;
      while (text.size() < 200000) text += unit;
      for (const std::string tail : {"", "x", "中"}) {
        const auto ids = tokenizer->Encode(text + tail, kLikeHuggingFace);
        ASSERT_TRUE(ids.ok()) << style << " " << unit << ": " << ids.status();
      }
    }
  }
  // About 40 MB; a quadratic step anywhere would take hours.
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(90));
}

TEST(TokenizerTest, ManyThreadsShareOneObject) {
  const auto tokenizer = LoadTokenizer("qwen2");
  const nlohmann::json goldens = ReadJson("encodings.json").at("qwen2");
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (const nlohmann::json& golden : goldens) {
        if (*tokenizer->Encode(golden.at("text").get<std::string>(), kLikeHuggingFace) != golden.at("ids").get<Ids>())
          ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(TokenizerTest, ATemplateFileReplacesTheOneOfTheConfig) {
  const std::string dir = ::testing::TempDir() + "hadal_tokenizer_template";
  std::filesystem::create_directories(dir);
  const auto write = [&](const char* name, const std::string& text) { std::ofstream(dir + "/" + name) << text; };
  write("tokenizer.json", ReadData("deepseek_v3.tokenizer.json"));
  write("tokenizer_config.json", R"({"chat_template": "old"})");
  EXPECT_EQ((*Tokenizer::Load(dir))->chat_template(), "old");
  write("chat_template.jinja", "new");
  EXPECT_EQ((*Tokenizer::Load(dir))->chat_template(), "new");
  write("tokenizer_config.json", "{");
  EXPECT_THAT(std::string(Tokenizer::Load(dir).status().message()),
              HasSubstr(dir + "/tokenizer_config.json: not valid JSON"));
  std::filesystem::remove_all(dir);
}

TEST(TokenizerTest, LoadsACheckpointFolderOrNamesTheMissingFile) {
  const char* root = std::getenv("HADAL_SOURCE_DIR");
  ASSERT_NE(root, nullptr);
  const auto demo = Tokenizer::Load(std::string(root) + "/models/demo");
  ASSERT_TRUE(demo.ok()) << demo.status();
  EXPECT_FALSE((*demo)->chat_template().empty());
  EXPECT_EQ((*demo)->Encode("17 + 25", {.add_special_tokens = true})->front(), (*demo)->bos_id());
  const auto missing = Tokenizer::Load("/nonexistent");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("/nonexistent/tokenizer.json"));
}

}  // namespace
}  // namespace hadal::tokenizer
