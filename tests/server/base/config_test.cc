// SPDX-License-Identifier: Apache-2.0
#include "server/base/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

namespace hadal::base {
namespace {

using ::testing::HasSubstr;

std::string WriteToml(const std::string& text) {
  const std::string path = ::testing::TempDir() + "/hadal_config_test.toml";
  std::ofstream(path) << text;
  return path;
}

TEST(ConfigTest, DefaultsMatchTheDocumentedOnes) {
  auto parsed = ParseServerConfig("serve", {});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->config.port, 8000);
  EXPECT_EQ(parsed->config.host, "127.0.0.1");
  EXPECT_EQ(parsed->config.max_queue_requests, 512);
  EXPECT_EQ(parsed->config.drain_timeout, absl::Seconds(30));
  EXPECT_TRUE(parsed->config.models.empty());
}

TEST(ConfigTest, FlagBeatsEnvironmentBeatsFile) {
  const std::string path = WriteToml("port = 1000\nmax-batch-size = 7\nmax_batch_tokens = 99\n");
  setenv("HADAL_PORT", "2000", 1);
  setenv("HADAL_MAX_BATCH_SIZE", "8", 1);
  auto parsed = ParseServerConfig("serve", {"--port=3000", "--config", path});
  unsetenv("HADAL_PORT");
  unsetenv("HADAL_MAX_BATCH_SIZE");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->config.port, 3000);
  EXPECT_EQ(parsed->config.max_batch_size, 8);
  EXPECT_EQ(parsed->config.max_batch_tokens, 99);
  EXPECT_EQ(parsed->sources["port"], ValueSource::kFlag);
  EXPECT_EQ(parsed->sources["max-batch-size"], ValueSource::kEnvironment);
  EXPECT_EQ(parsed->sources["max-batch-tokens"], ValueSource::kFile);
  EXPECT_THAT(parsed->ToToml(), HasSubstr("port = \"3000\"  # flag"));
}

TEST(ConfigTest, UnknownNamesAreRefusedWithTheNearestKnown) {
  auto flag = ParseServerConfig("serve", {"--max-batch-sise=3"});
  EXPECT_THAT(std::string(flag.status().message()), HasSubstr("did you mean 'max-batch-size'"));
  auto key = ParseServerConfig("serve", {"--config", WriteToml("prot = 1\n")});
  EXPECT_THAT(std::string(key.status().message()), HasSubstr("did you mean 'port'"));
  setenv("HADAL_PROT", "1", 1);
  auto variable = ParseServerConfig("serve", {});
  unsetenv("HADAL_PROT");
  EXPECT_THAT(std::string(variable.status().message()), HasSubstr("did you mean 'HADAL_PORT'"));
}

TEST(ConfigTest, RangeErrorsNameFlagLimitAndValue) {
  auto parsed = ParseServerConfig("serve", {"--port", "70000"});
  ASSERT_FALSE(parsed.ok());
  EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("--port"));
  EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("65535"));
  EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("70000"));
}

TEST(ConfigTest, ModelsTakeANameOrTheFoldersName) {
  auto parsed = ParseServerConfig("serve", {"--model", "r1=/m/one", "--model", "/m/two/"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  ASSERT_EQ(parsed->config.models.size(), 2u);
  EXPECT_EQ(parsed->config.models[0].name, "r1");
  EXPECT_EQ(parsed->config.models[0].dir, "/m/one");
  EXPECT_EQ(parsed->config.models[1].name, "two");
  EXPECT_FALSE(ParseServerConfig("serve", {"--model", "a=/x", "--model", "a=/y"}).ok());
}

TEST(ConfigTest, TheNullFormatTakesAStepTime) {
  EXPECT_EQ(ParseServerConfig("serve", {"--load-format=null:20ms"})->config.load_format, "null:20ms");
  EXPECT_FALSE(ParseServerConfig("serve", {"--load-format=null:soon"}).ok());
  EXPECT_FALSE(ParseServerConfig("serve", {"--load-format=nul"}).ok());
}

TEST(ConfigTest, ParsesSizesAndDurations) {
  EXPECT_EQ(*ParseBytes("24GiB"), int64_t{24} << 30);
  EXPECT_EQ(*ParseBytes("1.5 GB"), 1500000000);
  EXPECT_EQ(*ParseBytes("1000"), 1000);
  EXPECT_FALSE(ParseBytes("-1").ok());
  EXPECT_FALSE(ParseBytes("ten").ok());
  EXPECT_FALSE(ParseBytes("99999999TiB").ok());
  EXPECT_EQ(*ParseDuration("500ms"), absl::Milliseconds(500));
  EXPECT_EQ(*ParseDuration("2"), absl::Seconds(2));
  EXPECT_FALSE(ParseDuration("-1s").ok());
  EXPECT_FALSE(ParseDuration("soon").ok());
}

}  // namespace
}  // namespace hadal::base
