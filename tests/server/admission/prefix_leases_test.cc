// SPDX-License-Identifier: Apache-2.0
#include "server/admission/prefix_leases.h"

#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace hadal::admission {
namespace {

constexpr int32_t kBlockTokens = 4;
constexpr int64_t kBlockBytes = 10;

// A request with a prompt of so many whole blocks and one token more, of which a lease was taken.
struct Request {
  std::unique_ptr<PrefixHold> hold;
  MemoryLease lease;
  int64_t leased() const { return lease.bytes() / kBlockBytes; }
};

class PrefixLeasesTest : public ::testing::Test {
 protected:
  static std::vector<int32_t> Prompt(int32_t blocks, int32_t first = 1) {
    std::vector<int32_t> prompt;
    for (int32_t i = 0; i <= blocks * kBlockTokens; ++i) prompt.push_back(first + i);
    return prompt;
  }
  // Leases what it does not share, and a block for the last token.
  Request Admit(int32_t blocks, int32_t first = 1, uint64_t salt = 0) {
    Request request{table.Claim(Prompt(blocks, first), salt), {}};
    request.lease = pool.TryLease((blocks + 1 - request.hold->shared()) * kBlockBytes).value();
    return request;
  }
  bool Start(Request& request, int32_t cached) { return table.Start(*request.hold, cached, request.lease); }
  void Compute(Request& request) {
    for (int32_t i = 0; i < request.hold->blocks(); ++i) table.Publish(*request.hold, i);
  }
  // One that runs, and has computed its whole prompt.
  Request AdmitComputed(int32_t blocks) {
    Request request = Admit(blocks);
    EXPECT_TRUE(Start(request, 0));
    Compute(request);
    return request;
  }
  void End(Request& request) {
    table.Release(*request.hold, request.lease);
    request.lease.Release();
  }
  int64_t leased() const { return pool.leased_bytes() / kBlockBytes; }
  int64_t kept() const { return table.kept_bytes() / kBlockBytes; }

  KvPoolLedger pool{100 * kBlockBytes};
  PrefixLeases table{&pool, kBlockTokens, kBlockBytes};
};

TEST_F(PrefixLeasesTest, WhatARunningRequestHasInTheCacheIsLeasedOnce) {
  Request first = Admit(5);
  EXPECT_EQ(first.leased(), 6);
  ASSERT_TRUE(Start(first, 0));
  EXPECT_EQ(Admit(5).leased(), 6) << "nothing is in the cache yet";
  Compute(first);
  Request second = Admit(5);
  EXPECT_EQ(second.hold->shared(), 5);
  EXPECT_EQ(second.leased(), 1);
  EXPECT_EQ(Admit(3).leased(), 1) << "a shorter prompt shares what it has";
  EXPECT_EQ(Admit(8).leased(), 4) << "a longer one leases the rest";
  EXPECT_EQ(Admit(5, /*first=*/2).leased(), 6) << "another prompt";
  EXPECT_EQ(Admit(5, 1, /*salt=*/7).leased(), 6) << "another tenant";
  EXPECT_EQ(leased(), 7);
}

TEST_F(PrefixLeasesTest, AShareOutlivesItsLender) {
  Request first = AdmitComputed(5);
  Request second = Admit(5);
  Request third = Admit(5);
  End(first);
  EXPECT_EQ(kept(), 5) << "both count on these blocks";
  EXPECT_EQ(leased(), 7);
  ASSERT_TRUE(Start(second, 5)) << "they are still in the cache";
  EXPECT_EQ(second.leased(), 1);
  End(second);
  EXPECT_EQ(leased(), 6);
  End(third);
  EXPECT_EQ(leased(), 0);
  EXPECT_EQ(pool.active_leases(), 0);
}

TEST_F(PrefixLeasesTest, WhoseBlocksWereEvictedFindsItsBytes) {
  Request first = AdmitComputed(5);
  Request second = Admit(5);
  Request third = Admit(5);
  End(first);
  MemoryLease others = pool.TryLease((100 - 7) * kBlockBytes).value();
  ASSERT_EQ(pool.available_bytes(), 0) << "full, and the cache has evicted the prompt but for two blocks";
  ASSERT_TRUE(Start(second, 2));
  EXPECT_EQ(second.leased(), 4) << "its own and the three that it computes again";
  EXPECT_EQ(kept(), 2);
  EXPECT_FALSE(Start(third, 2)) << "it would hold a second copy, and there is no memory for it";
  EXPECT_EQ(third.leased(), 1);
  Compute(second);
  ASSERT_TRUE(Start(third, 5)) << "now it shares them";
  EXPECT_EQ(third.leased(), 1);
  End(second);
  End(third);
  others.Release();
  EXPECT_EQ(leased(), 0);
}

TEST_F(PrefixLeasesTest, ASecondCopyIsLeasedWhereThereIsMemory) {
  Request first = AdmitComputed(5);
  Request second = Admit(5);
  Request third = Admit(5);
  End(first);
  ASSERT_TRUE(Start(second, 0));
  ASSERT_TRUE(Start(third, 0));
  EXPECT_EQ(leased(), 12);
  Compute(third);  // it was faster, so that others find its blocks
  Request fourth = Admit(5);
  EXPECT_EQ(fourth.leased(), 1);
  End(second);
  EXPECT_EQ(leased(), 7);
  End(third);
  EXPECT_EQ(leased(), 6);
  End(fourth);
  EXPECT_EQ(leased(), 0);
}

TEST_F(PrefixLeasesTest, WhatOthersLeaseByTheStartIsGivenBack) {
  Request first = Admit(5);
  Request second = Admit(5);  // at once: neither knew of the other
  EXPECT_EQ(leased(), 12);
  ASSERT_TRUE(Start(first, 0));
  Compute(first);
  ASSERT_TRUE(Start(second, 5));
  EXPECT_EQ(second.leased(), 1);
  EXPECT_EQ(leased(), 7);
  End(first);
  EXPECT_EQ(kept(), 5);
  End(second);
  EXPECT_EQ(leased(), 0);
}

TEST_F(PrefixLeasesTest, ARequestThatHoldsNothingLendsNothing) {
  Request first = AdmitComputed(5);
  Request second = Admit(5);
  table.Suspend(*first.hold, first.lease);  // preempted
  EXPECT_EQ(first.leased(), 1);
  EXPECT_EQ(kept(), 5);
  MemoryLease others = pool.TryLease(pool.available_bytes()).value();
  ASSERT_TRUE(Start(second, 0)) << "its blocks were evicted: it computes them with the bytes that were kept";
  EXPECT_FALSE(Start(first, 0)) << "while it does";
  End(second);
  ASSERT_TRUE(Start(first, 0));
  EXPECT_EQ(first.leased(), 6);
  End(first);
  others.Release();
  EXPECT_EQ(leased(), 0);
}

TEST_F(PrefixLeasesTest, TheLeaseCoversEveryCopyWhateverHappens) {
  // A prefix cache in miniature: a chain of blocks that evicts from its end, and requests in random states.
  struct Running {
    Request request;
    bool started = false;
    int32_t computed = 0;  // blocks that are there; from `shared_until` on they are its own
    int32_t shared_until = 0;
  };
  for (uint32_t seed = 1; seed <= 200; ++seed) {
    std::mt19937 random(seed);
    const auto draw = [&](int n) { return static_cast<int>(random() % n); };
    constexpr int32_t kBlocks = 6;
    std::vector<std::unique_ptr<Running>> requests;
    std::vector<Running*> owner(kBlocks, nullptr);  // whose block the cache has
    std::vector<bool> cached(kBlocks, false);
    const auto holds = [&](int32_t i) {
      return std::any_of(requests.begin(), requests.end(),
                         [&](const auto& r) { return r->started && (i < r->shared_until || owner[i] == r.get()); });
    };
    const auto evict = [&](int32_t from) {
      for (int32_t i = kBlocks; i-- > from;) {
        if (cached[i] && !holds(i)) cached[i] = false;
        if (cached[i]) break;
      }
    };
    const auto leave = [&](Running& r) {
      r.started = false;
      for (Running*& one : owner) {
        if (one == &r) one = nullptr;
      }
    };
    for (int step = 0; step < 300; ++step) {
      const int what = draw(6);
      Running* r = requests.empty() ? nullptr : requests[draw(static_cast<int>(requests.size()))].get();
      if (what == 0 && requests.size() < 6) {
        requests.push_back(std::make_unique<Running>());
        requests.back()->request = Admit(kBlocks);
      } else if (what == 1 && r != nullptr && !r->started) {
        int32_t hit = 0;
        while (hit < kBlocks && cached[hit]) ++hit;
        if (Start(r->request, hit)) {
          r->started = true;
          r->computed = r->shared_until = hit;
        }
      } else if (what == 2 && r != nullptr && r->started && r->computed < kBlocks) {
        const int32_t i = r->computed++;
        if (!cached[i] && (i == 0 || cached[i - 1])) {
          cached[i] = true;
          owner[i] = r;
          table.Publish(*r->request.hold, i);
        }
      } else if (what == 3 && r != nullptr && r->started) {
        leave(*r);
        table.Suspend(*r->request.hold, r->request.lease);
      } else if (what == 4 && r != nullptr) {
        leave(*r);
        End(r->request);
        std::erase_if(requests, [&](const auto& one) { return one.get() == r; });
      } else if (what == 5) {
        evict(draw(kBlocks));
      }
      // Blocks that are held: those in the cache once, all others by each that started.
      int64_t held = 0;
      for (int32_t i = 0; i < kBlocks; ++i) held += cached[i] && holds(i);
      for (const auto& one : requests) {
        held += 1;  // the last token's block, and what it computes itself
        if (!one->started) continue;
        for (int32_t i = one->shared_until; i < kBlocks; ++i) held += owner[i] != one.get();
      }
      ASSERT_GE(leased(), held) << "seed " << seed << ", step " << step;
    }
    while (!requests.empty()) {
      End(requests.back()->request);
      requests.pop_back();
    }
    ASSERT_EQ(leased(), 0);
    ASSERT_EQ(pool.active_leases(), 0);
  }
}

}  // namespace
}  // namespace hadal::admission
