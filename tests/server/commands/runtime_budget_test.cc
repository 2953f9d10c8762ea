// SPDX-License-Identifier: Apache-2.0
#include "server/commands/runtime_budget.h"

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/commands/memory_budget.h"
#include "tests/support/temp_folder.h"

namespace hadal::commands {
namespace {

using ::testing::HasSubstr;

void Write(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

class RuntimeBudgetTest : public ::testing::Test {
 protected:
  RuntimeBudgetTest() : ledger_(*admission::MemoryLedger::Create(int64_t{8} << 20)) {
    EXPECT_TRUE(ledger_->Commit("weights", int64_t{4} << 20).ok());
    pool_ = ledger_->CommitKvPool("KV cache", int64_t{4} << 20).value();
  }
  testing::TempFolder folder_;
  const std::string file_ = folder_.path("budget");
  const std::unique_ptr<admission::MemoryLedger> ledger_;
  admission::KvPoolLedger* pool_;
};

TEST_F(RuntimeBudgetTest, FollowsAFile) {
  Write(file_, "7MiB\n");
  RuntimeBudget budget({.file = file_}, ledger_.get());
  budget.Update();
  EXPECT_EQ(pool_->limit_bytes(), int64_t{3} << 20);
  Write(file_, "5242880");
  budget.Update();
  EXPECT_EQ(pool_->limit_bytes(), int64_t{1} << 20);
  Write(file_, "0");
  budget.Update();
  EXPECT_EQ(pool_->limit_bytes(), int64_t{4} << 20);
  Write(file_, "64GiB");
  budget.Update();
  EXPECT_EQ(ledger_->budget_bytes(), int64_t{8} << 20);
}

TEST_F(RuntimeBudgetTest, AFileThatMakesNoSenseChangesNothing) {
  Write(file_, "6MiB");
  RuntimeBudget budget({.file = file_}, ledger_.get());
  budget.Update();
  for (const char* text : {"", "many", "-5", "6 MiB of 8", "99999999999999999999"}) {
    Write(file_, text);
    budget.Update();
    EXPECT_EQ(ledger_->budget_bytes(), int64_t{6} << 20) << text;
    EXPECT_THAT(RuntimeBudget::CheckFile(file_).ToString(), HasSubstr("--memory-budget-file: " + file_)) << text;
  }
  std::filesystem::remove(file_);
  budget.Update();
  EXPECT_EQ(ledger_->budget_bytes(), int64_t{6} << 20);
  EXPECT_THAT(RuntimeBudget::CheckFile(file_).ToString(), HasSubstr("--memory-budget-file: "));
}

TEST_F(RuntimeBudgetTest, FollowsTheCgroupsLimitAndTheLeastCounts) {
  RuntimeBudget budget({.file = file_, .group_limit = [this] { return HostGroupLimit(folder_.path()); }},
                       ledger_.get());
  Write(file_, "7MiB");
  Write(folder_.path("memory.max"), "max\n");
  budget.Update();
  EXPECT_EQ(ledger_->budget_bytes(), int64_t{7} << 20);
  Write(folder_.path("memory.max"), "5242880\n");
  budget.Update();
  EXPECT_EQ(ledger_->budget_bytes(), int64_t{5} << 20);
  Write(folder_.path("memory.max"), "max\n");
  budget.Update();
  EXPECT_EQ(ledger_->budget_bytes(), int64_t{7} << 20) << "it recovers";
}

TEST_F(RuntimeBudgetTest, FollowsTheLimitOfAGpusGroup) {
  RuntimeBudget budget({.group_limit = [this] { return DeviceGroupLimit("0000:65:00.0", folder_.path()); }},
                       ledger_.get());
  budget.Update();
  EXPECT_EQ(ledger_->budget_bytes(), int64_t{8} << 20) << "no file, no limit";
  Write(folder_.path("dmem.max"), "drm/0000:65:00.0/vram0 4194304\n");
  budget.Update();
  EXPECT_EQ(pool_->limit_bytes(), 0) << "only the weights are left";
}

}  // namespace
}  // namespace hadal::commands
