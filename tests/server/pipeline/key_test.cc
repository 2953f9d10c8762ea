// SPDX-License-Identifier: Apache-2.0
#include "server/pipeline/key.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hadal::pipeline {
namespace {

using ::testing::HasSubstr;

class KeyTest : public ::testing::Test {
 protected:
  ~KeyTest() override { std::filesystem::remove(path_); }

  absl::StatusOr<std::string> Read(const std::string& text) {
    std::ofstream(path_) << text;
    return ReadKey(path_);
  }

  const std::string path_ = ::testing::TempDir() + "/hadal_pipeline_key_" + std::to_string(::getpid());
};

TEST_F(KeyTest, IsTheFileWithoutTheSpaceAroundIt) {
  EXPECT_EQ(*Read("0123456789abcdef\n"), "0123456789abcdef");
  EXPECT_EQ(*Read("  two words are a key \n\n"), "two words are a key");
}

TEST_F(KeyTest, NamesWhatIsNoKey) {
  EXPECT_THAT(std::string(Read("short\n").status().message()), HasSubstr("holds 5 bytes, minimum 16"));
  EXPECT_THAT(std::string(Read(std::string(5000, 'x')).status().message()), HasSubstr("--pipeline-key-file"));
  EXPECT_THAT(std::string(ReadKey("").status().message()), HasSubstr("--pipeline-key-file is missing"));
  EXPECT_THAT(std::string(ReadKey("/none/such").status().message()), HasSubstr("/none/such"));
}

TEST(MacTest, DependsOnAllThatItIsMadeOf) {
  Nonce a{}, b{};
  b[31] = std::byte{1};
  const Mac mac = MakeMac("0123456789abcdef", Side::kLeader, a, b);
  EXPECT_TRUE(Equal(mac, MakeMac("0123456789abcdef", Side::kLeader, a, b)));
  EXPECT_FALSE(Equal(mac, MakeMac("0123456789abcdeg", Side::kLeader, a, b)));
  EXPECT_FALSE(Equal(mac, MakeMac("0123456789abcdef", Side::kWorker, a, b)));
  EXPECT_FALSE(Equal(mac, MakeMac("0123456789abcdef", Side::kLeader, b, a)));
}

TEST(MacTest, NoncesAreFresh) { EXPECT_NE(MakeNonce(), MakeNonce()); }

}  // namespace
}  // namespace hadal::pipeline
