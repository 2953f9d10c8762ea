// SPDX-License-Identifier: Apache-2.0
#include "server/admission/memory_ledger.h"

#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace hadal::admission {
namespace {

using ::testing::HasSubstr;

TEST(MemoryLedgerTest, UnknownIsAnError) {
  EXPECT_EQ(MemoryLedger::Create(0).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(MemoryLedger::Create(-1).status().code(), absl::StatusCode::kInvalidArgument);
  auto ledger = MemoryLedger::Create(1000);
  ASSERT_OK(ledger);
  EXPECT_EQ((*ledger)->Commit("weights", -1).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ((*ledger)->committed_bytes(), 0);
}

TEST(MemoryLedgerTest, CommitsUpToTheBudgetAndNamesWhatDidNotFit) {
  auto ledger = MemoryLedger::Create(10'000'000'000);
  ASSERT_OK(ledger);
  ASSERT_OK((*ledger)->Commit("weights", 6'000'000'000));
  ASSERT_OK((*ledger)->CommitKvPool("KV cache", 3'000'000'000));
  const absl::Status status = (*ledger)->Commit("workspace", 1'500'000'000);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(), "workspace needs 1.5GB but only 1.0GB of the memory budget of 10.0GB are left");
  EXPECT_EQ((*ledger)->committed_bytes(), 9'000'000'000);
  EXPECT_EQ((*ledger)->parts().size(), 2u);
}

TEST(MemoryLedgerTest, ALeaseIsSplitAndMerged) {
  KvPoolLedger pool(100);
  MemoryLease lease = pool.TryLease(60).value();
  MemoryLease part = lease.Split(20);
  EXPECT_EQ(lease.bytes(), 40);
  EXPECT_EQ(part.bytes(), 20);
  EXPECT_EQ(pool.leased_bytes(), 60);
  EXPECT_EQ(pool.active_leases(), 2);
  EXPECT_EQ(lease.Split(0).bytes(), 0);
  part.Merge(lease.Split(40));
  EXPECT_EQ(lease.bytes(), 0);
  EXPECT_EQ(part.bytes(), 60);
  EXPECT_EQ(pool.active_leases(), 1);
  lease.Merge(std::move(part));
  lease.Merge({});
  EXPECT_EQ(lease.bytes(), 60);
  lease.Release();
  EXPECT_EQ(pool.leased_bytes(), 0);
  EXPECT_EQ(pool.active_leases(), 0);
}

TEST(MemoryLedgerTest, ExportsItsBudgetAndWhatIsUsedOfIt) {
  base::MetricRegistry registry;
  auto ledger = MemoryLedger::Create(1000, &registry);
  ASSERT_OK(ledger);
  ASSERT_OK((*ledger)->Commit("weights", 500));
  auto pool = (*ledger)->CommitKvPool("KV cache", 400);
  ASSERT_OK(pool);
  auto lease = (*pool)->TryLease(30);
  ASSERT_OK(lease);
  EXPECT_EQ((*ledger)->used_bytes(), 530);
  EXPECT_THAT(registry.Expose(), HasSubstr("hadal_memory_budget_bytes 1000\n"));
  EXPECT_THAT(registry.Expose(), HasSubstr("hadal_memory_committed_bytes 530\n"));
  lease->Release();
  EXPECT_THAT(registry.Expose(), HasSubstr("hadal_memory_committed_bytes 500\n"));
}

TEST(MemoryLedgerTest, ASmallerBudgetLimitsTheLeasesOfEveryPoolAndALargerOneLiftsThat) {
  base::MetricRegistry registry;
  auto ledger = MemoryLedger::Create(1000, &registry);
  ASSERT_OK(ledger);
  ASSERT_OK((*ledger)->Commit("weights", 500));
  KvPoolLedger* const large = (*ledger)->CommitKvPool("large", 300).value();
  KvPoolLedger* const small = (*ledger)->CommitKvPool("small", 100).value();
  MemoryLease lease = large->TryLease(250).value();

  (*ledger)->SetBudget(950);  // more than what is committed
  EXPECT_EQ(large->limit_bytes(), 300);
  (*ledger)->SetBudget(700);
  EXPECT_EQ((*ledger)->budget_bytes(), 700);
  EXPECT_EQ(large->limit_bytes(), 150);
  EXPECT_EQ(small->limit_bytes(), 50);
  EXPECT_EQ(large->available_bytes(), 0);
  EXPECT_EQ(large->headroom_bytes(), -100);
  EXPECT_EQ(large->TryLease(1).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_OK(large->TryLease(0)) << "who needs nothing more goes on";
  EXPECT_FALSE(small->TryLease(51).ok());
  EXPECT_EQ((*ledger)->used_bytes(), 750) << "what is leased stays leased, what is withheld is not used";
  EXPECT_THAT(registry.Expose(), HasSubstr("hadal_memory_budget_bytes 700\n"));
  EXPECT_THAT(registry.Expose(), HasSubstr("hadal_memory_committed_bytes 750\n"));

  (*ledger)->SetBudget(100);  // less than the weights
  EXPECT_EQ(small->limit_bytes(), 0);
  lease.Release();
  EXPECT_FALSE(large->TryLease(1).ok());
  (*ledger)->SetBudget(5000);
  EXPECT_EQ((*ledger)->budget_bytes(), 1000) << "what was allocated at the start is all there is";
  EXPECT_OK(large->TryLease(300));
}

TEST(KvPoolLedgerTest, LeaseReturnsItsBytesExactlyOnce) {
  KvPoolLedger pool(100);
  {
    auto lease = pool.TryLease(60);
    ASSERT_OK(lease);
    MemoryLease moved = *std::move(lease);
    EXPECT_EQ(pool.leased_bytes(), 60);
    EXPECT_EQ(pool.TryLease(41).status().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_OK(pool.TryLease(40));
    MemoryLease assigned;
    assigned = std::move(moved);
    EXPECT_EQ(pool.leased_bytes(), 60);
    assigned.Release();
    assigned.Release();
    EXPECT_EQ(pool.leased_bytes(), 0);
  }
  EXPECT_EQ(pool.leased_bytes(), 0);
  EXPECT_EQ(pool.active_leases(), 0);
}

TEST(KvPoolLedgerTest, RefusesUnknownAndOverflowingSizes) {
  KvPoolLedger pool(100);
  EXPECT_FALSE(pool.TryLease(-1).ok());
  EXPECT_FALSE(pool.TryLease(INT64_MAX).ok());
  EXPECT_OK(pool.TryLease(0));
}

TEST(KvPoolLedgerTest, SumStaysWithinTheBudgetUnderThreads) {
  KvPoolLedger pool(1000);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&pool, t] {
      for (int i = 0; i < 5000; ++i) {
        auto lease = pool.TryLease(100 + 37 * t);
        ASSERT_LE(pool.leased_bytes(), 1000);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(pool.leased_bytes(), 0);
  EXPECT_EQ(pool.active_leases(), 0);
}

TEST(FormatBytesTest, UsesOneDecimalAndNeverReadsAsZero) {
  EXPECT_EQ(FormatBytes(6'200'000'000), "6.2GB");
  EXPECT_EQ(FormatBytes(3'849'999'999), "3.8GB");
  EXPECT_EQ(FormatBytes(120'000'000'000), "120.0GB");
  EXPECT_EQ(FormatBytes(100'000'000), "0.1GB");
  EXPECT_EQ(FormatBytes(99'999'999), "100.0MB");
  EXPECT_EQ(FormatBytes(4'200'000), "4.2MB");
  EXPECT_EQ(FormatBytes(99'999), "100.0KB");
  EXPECT_EQ(FormatBytes(99), "99B");
  EXPECT_EQ(FormatBytes(0), "0B");
}

}  // namespace
}  // namespace hadal::admission
