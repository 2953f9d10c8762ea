// SPDX-License-Identifier: Apache-2.0
#include "server/upstream/target_keys.h"

#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hadal::upstream {
namespace {

using ::testing::HasSubstr;

class TargetKeysTest : public ::testing::Test {
 protected:
  ~TargetKeysTest() override { std::remove(path_.c_str()); }
  void Write(const std::string& text) const { std::ofstream(path_) << text; }
  absl::Status Load() { return keys_.Load({{.name = "open"}, {.name = "far", .key_file = path_}}); }

  const std::string path_ = ::testing::TempDir() + "/target_keys_test_" + std::to_string(::getpid());
  TargetKeys keys_;
};

TEST_F(TargetKeysTest, TakesTheFirstLine) {
  Write("sk-1 \r\nsk-2\n");
  ASSERT_TRUE(Load().ok());
  EXPECT_EQ(keys_.Get(0), "");
  EXPECT_EQ(keys_.Get(1), "sk-1");
  Write("sk-3");
  ASSERT_TRUE(Load().ok());
  EXPECT_EQ(keys_.Get(1), "sk-3");
}

TEST_F(TargetKeysTest, KeepsTheKeysWhenAFileCannotBeRead) {
  Write("sk-1");
  ASSERT_TRUE(Load().ok());
  for (const char* broken : {"", "\nsk-2", "two words", "sk\x7f"}) {
    Write(broken);
    const absl::Status status = Load();
    EXPECT_THAT(std::string(status.message()), HasSubstr("--fallback-upstream far")) << broken;
    EXPECT_THAT(std::string(status.message()), HasSubstr(path_)) << broken;
    EXPECT_EQ(keys_.Get(1), "sk-1");
  }
  std::remove(path_.c_str());
  EXPECT_EQ(Load().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(keys_.Get(1), "sk-1");
}

TEST_F(TargetKeysTest, NoMessageShowsAKey) {
  Write("sk-secret word");
  EXPECT_EQ(std::string(Load().message()).find("sk-secret"), std::string::npos);
}

}  // namespace
}  // namespace hadal::upstream
