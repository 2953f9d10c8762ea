// SPDX-License-Identifier: Apache-2.0
#include "server/commands/model_options.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "server/commands/server_config.h"

namespace hadal::commands {
namespace {

TEST(ModelOptionsTest, ModelsTakeANameOrTheFoldersName) {
  auto parsed = ParseServerConfig("serve", {"--model", "r1=/m/one", "--model", "/m/two/"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  ASSERT_EQ(parsed->config.model.models.size(), 2u);
  EXPECT_EQ(parsed->config.model.models[0].name, "r1");
  EXPECT_EQ(parsed->config.model.models[0].dir, "/m/one");
  EXPECT_EQ(parsed->config.model.models[1].name, "two");
  EXPECT_FALSE(ParseServerConfig("serve", {"--model", "a=/x", "--model", "a=/y"}).ok());
}

TEST(ModelOptionsTest, AnArgumentWithoutAFlagIsAModel) {
  auto parsed = ParseServerConfig("serve", {"/m/one", "--port=0", "second=/m/two"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  ASSERT_EQ(parsed->config.model.models.size(), 2);
  EXPECT_EQ(parsed->config.model.models[0].name, "one");
  EXPECT_EQ(parsed->config.model.models[1].name, "second");
}

TEST(ModelOptionsTest, NamesMayHoldSlashesAndBeSeveral) {
  auto parsed = ParseServerConfig(
      "serve", {"--model", "deepseek-ai/DeepSeek-V3,v3=/m/one", "--model", "/m/a=b", "--model", "./c=d"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const std::vector<ModelFlag>& models = parsed->config.model.models;
  EXPECT_EQ(models[0].name, "deepseek-ai/DeepSeek-V3");
  EXPECT_EQ(models[0].other_names, (std::vector<std::string>{"v3"}));
  EXPECT_EQ(models[0].dir, "/m/one");
  EXPECT_EQ(models[1].name, "a=b") << "a path may hold an equals sign";
  EXPECT_EQ(models[2].dir, "./c=d");
  for (const char* text : {"=/x", "a,=/x", "a b=/x", "a="}) {
    EXPECT_FALSE(ParseServerConfig("serve", {"--model", text}).ok()) << text;
  }
  EXPECT_FALSE(ParseServerConfig("serve", {"--model", "a,b=/x", "--model", "b=/y"}).ok());
}

TEST(ModelOptionsTest, TheNullFormatTakesAStepTime) {
  EXPECT_EQ(ParseServerConfig("serve", {"--load-format=null:20ms"})->config.model.null_step_time,
            absl::Milliseconds(20));
  EXPECT_EQ(ParseServerConfig("serve", {"--load-format=null"})->config.model.null_step_time, absl::ZeroDuration());
  EXPECT_EQ(ParseServerConfig("serve", {"--load-format=dummy"})->config.model.load.load_format,
            models::LoadFormat::kDummy);
  EXPECT_FALSE(ParseServerConfig("serve", {})->config.model.null_step_time.has_value());
  EXPECT_FALSE(ParseServerConfig("serve", {"--load-format=null:soon"}).ok());
  EXPECT_FALSE(ParseServerConfig("serve", {"--load-format=nul"}).ok());
}

TEST(ModelOptionsTest, TimedAlgorithmsAreKeptInTheCacheFolder) {
  setenv("XDG_CACHE_HOME", "/x", 1);
  EXPECT_EQ(AlgorithmFolder(ParseServerConfig("serve", {})->config.model.gemm_cache), "/x/hadal");
  unsetenv("XDG_CACHE_HOME");
  setenv("HOME", "/me", 1);
  EXPECT_EQ(AlgorithmFolder("auto"), "/me/.cache/hadal");
  setenv("HOME", "", 1);
  EXPECT_EQ(AlgorithmFolder("auto"), "");
  EXPECT_EQ(AlgorithmFolder("off"), "");
  EXPECT_EQ(AlgorithmFolder("/c"), "/c");
}

TEST(ModelOptionsTest, DevicesMayHaveANumber) {
  EXPECT_EQ(ParseServerConfig("serve", {"--device=cuda:3"})->config.model.load.device, "cuda:3");
  EXPECT_EQ(ParseServerConfig("serve", {"--device=cuda:x"}).status().message(),
            "--device: expected auto, cpu, cuda, cuda:N, torch, torch:cpu, torch:cuda or torch:cuda:N, found 'cuda:x'");
  for (const std::string device : {"torch", "torch:cpu", "torch:cuda", "torch:cuda:1"}) {
    EXPECT_EQ(ParseServerConfig("serve", {"--device=" + device})->config.model.load.device, device);
  }
  for (const std::string device : {"torch:", "torch:auto", "torch:torch", "torch:cuda:-1", "torch:cuda:", "torchcpu"}) {
    EXPECT_FALSE(ParseServerConfig("serve", {"--device=" + device}).ok()) << device;
  }
}

}  // namespace
}  // namespace hadal::commands
