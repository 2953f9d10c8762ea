// SPDX-License-Identifier: Apache-2.0
#include "server/commands/model_source.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "server/commands/server_config.h"

namespace hadal::commands {
namespace {

namespace fs = std::filesystem;

class ModelSourceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(dir_);
    ::setenv("HF_HUB_CACHE", (dir_ / "hub").c_str(), 1);
  }
  void TearDown() override {
    ::unsetenv("HF_HUB_CACHE");
    fs::remove_all(dir_);
  }
  std::string Write(const std::string& name, const std::string& text = "{}") const {
    const fs::path path = dir_ / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text;
    return path.string();
  }
  std::string Error(const std::string& dir, bool wants_weights = true) const {
    return std::string(CheckModelFolder(dir, wants_weights).message());
  }

  const fs::path dir_ = fs::temp_directory_path() / ("hadal_model_source_test_" + std::to_string(::getpid()));
};

TEST_F(ModelSourceTest, TheSnapshotOfMainIsFound) {
  Write("hub/models--org--m/snapshots/aaa/config.json");
  const std::string wanted = fs::path(Write("hub/models--org--m/snapshots/bbb/config.json")).parent_path();
  EXPECT_EQ(FindHubSnapshot(HubCacheDir(), "org/m"), std::nullopt) << "two, and nothing says which";
  Write("hub/models--org--m/refs/main", "bbb\n");
  EXPECT_EQ(FindHubSnapshot(HubCacheDir(), "org/m"), wanted);
  Write("hub/models--org--m/refs/main", "../../..");
  EXPECT_EQ(FindHubSnapshot(HubCacheDir(), "org/m"), std::nullopt);
  EXPECT_EQ(FindHubSnapshot(HubCacheDir(), "org/other"), std::nullopt);
  EXPECT_EQ(FindHubSnapshot(HubCacheDir(), "../m"), std::nullopt);
}

TEST_F(ModelSourceTest, AHubNameStandsForItsSnapshot) {
  const std::string snapshot = fs::path(Write("hub/models--org--m/snapshots/aaa/config.json")).parent_path();
  const auto parsed = ParseServerConfig("serve", {"--model", "org/m", "--model", "mine=org/m", "--model", "org/none"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->config.model.models[0].name, "org/m");
  EXPECT_EQ(parsed->config.model.models[0].dir, snapshot);
  EXPECT_EQ(parsed->config.model.models[1].name, "mine");
  EXPECT_EQ(parsed->config.model.models[1].dir, snapshot);
  EXPECT_EQ(parsed->config.model.models[2].dir, "org/none");
}

TEST_F(ModelSourceTest, TheEnvironmentSaysWhereTheCacheIs) {
  EXPECT_EQ(HubCacheDir(), (dir_ / "hub").string());
  ::unsetenv("HF_HUB_CACHE");
  ::setenv("HF_HOME", "/hf", 1);
  EXPECT_EQ(HubCacheDir(), "/hf/hub");
  ::unsetenv("HF_HOME");
  EXPECT_TRUE(HubCacheDir().ends_with("/huggingface/hub"));
}

TEST_F(ModelSourceTest, SaysWhatToDoWithOtherThings) {
  EXPECT_NE(Error("org/name").find("hf download org/name"), std::string::npos) << Error("org/name");
  EXPECT_NE(Error("/nowhere").find("is no folder"), std::string::npos);
  EXPECT_NE(Error(Write("m/q4.gguf")).find("GGUF"), std::string::npos);
  EXPECT_NE(Error((dir_ / "m").string()).find("GGUF"), std::string::npos);
  Write("m/config.json");
  EXPECT_NE(Error((dir_ / "m").string()).find("GGUF"), std::string::npos) << "configuration beside it is not enough";
  fs::create_directories(dir_ / "empty");
  EXPECT_NE(Error((dir_ / "empty").string()).find("no config.json"), std::string::npos);
  // As in a folder that only another user may enter, but for root too.
  fs::create_directories(dir_ / "loop");
  fs::create_symlink("config.json", dir_ / "loop/config.json");
  EXPECT_NE(Error((dir_ / "loop").string()).find("cannot be read: config.json: Too many levels"), std::string::npos)
      << Error((dir_ / "loop").string());
  const std::string bin = fs::path(Write("bin/config.json")).parent_path();
  Write("bin/pytorch_model-00001-of-00002.bin");
  EXPECT_NE(Error(bin).find("save_pretrained"), std::string::npos) << Error(bin);
  EXPECT_EQ(Error(bin, /*wants_weights=*/false), "");
  Write("bin/model.safetensors");
  EXPECT_EQ(Error(bin), "");
}

}  // namespace
}  // namespace hadal::commands
