// SPDX-License-Identifier: Apache-2.0
#include "server/commands/generation_defaults.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace hadal::commands {
namespace {

absl::StatusOr<service::GenerationDefaults> Read(const std::string& text) {
  const std::string dir = ::testing::TempDir() + "/generation_defaults_" + std::to_string(::getpid());
  std::filesystem::create_directories(dir);
  std::ofstream(dir + "/generation_config.json") << text;
  return ReadGenerationDefaults(dir);
}

TEST(GenerationDefaultsTest, ReadsWhatIsThere) {
  const auto defaults = Read(R"({"temperature": 0.6, "top_p": 0.95, "do_sample": true, "eos_token_id": [1, 2]})");
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  EXPECT_FLOAT_EQ(*defaults->temperature, 0.6f);
  EXPECT_FLOAT_EQ(*defaults->top_p, 0.95f);
  EXPECT_EQ(defaults->top_k, std::nullopt);
  EXPECT_EQ(defaults->min_p, std::nullopt);
}

TEST(GenerationDefaultsTest, ReadsEveryFieldThatItKnows) {
  const auto defaults = Read(R"({"temperature": 0.7, "top_p": 0.8, "top_k": 20, "min_p": 0.05,
                                 "repetition_penalty": 1.05, "max_new_tokens": 2048})");
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  EXPECT_EQ(defaults->temperature, 0.7f);
  EXPECT_EQ(defaults->top_p, 0.8f);
  EXPECT_EQ(defaults->top_k, 20);
  EXPECT_EQ(defaults->min_p, 0.05f);
  EXPECT_EQ(defaults->repetition_penalty, 1.05f);
}

TEST(GenerationDefaultsTest, NoSamplingMeansGreedy) {
  EXPECT_EQ(Read(R"({"do_sample": false, "temperature": 0.6})")->temperature, 0.0f);
}

TEST(GenerationDefaultsTest, TopKMayBeOff) {
  for (const char* off : {R"({"top_k": 0})", R"({"top_k": -1})"}) {
    const auto defaults = Read(off);
    ASSERT_TRUE(defaults.ok()) << defaults.status();
    EXPECT_EQ(defaults->top_k, 0) << off;
  }
  EXPECT_THAT(std::string(Read(R"({"top_k": -2})").status().message()),
              ::testing::HasSubstr("generation_config.json: top_k: expected a number from -1 to 16777216, found -2"));
}

TEST(GenerationDefaultsTest, NoFileMeansNoDefaults) {
  const auto defaults = ReadGenerationDefaults("/nonexistent");
  ASSERT_TRUE(defaults.ok());
  EXPECT_EQ(defaults->temperature, std::nullopt);
}

TEST(GenerationDefaultsTest, BadValuesAreNamed) {
  EXPECT_THAT(std::string(Read(R"({"temperature": "hot"})").status().message()),
              ::testing::HasSubstr("temperature: expected a number from 0 to 2, found \"hot\""));
  EXPECT_THAT(std::string(Read(R"({"top_p": 7})").status().message()),
              ::testing::HasSubstr("top_p: expected a number from 0 to 1, found 7"));
  EXPECT_THAT(std::string(Read(R"({"min_p": 1.5})").status().message()),
              ::testing::HasSubstr("min_p: expected a number from 0 to 1, found 1.5"));
  EXPECT_FALSE(Read("[1]").ok());
  EXPECT_FALSE(Read("{").ok());
}

}  // namespace
}  // namespace hadal::commands
