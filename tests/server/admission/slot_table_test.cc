// SPDX-License-Identifier: Apache-2.0
#include "server/admission/slot_table.h"

#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace hadal::admission {
namespace {

using request::Priority;
using Room = SlotTable::Room;

constexpr ByClass<double> kFloors = {0.125, 0.25, 0.0625, 0};

// A table and the slots that were taken from it, oldest first.
struct Queue {
  explicit Queue(int64_t max_slots, int64_t max_tokens = 0, const ByClass<double>& floors = kFloors)
      : table(max_slots, max_tokens, floors) {}

  bool Take(Priority priority, const std::string& tenant = "", int64_t tokens = 1) {
    const SlotTable::Demand demand{priority, tenant, tokens};
    const Room expected = table.Check(demand);
    SlotTable::Taken taken = table.Take(demand);
    EXPECT_EQ(taken.room, expected) << "Check and Take disagree";
    if (taken.slot == nullptr) return false;
    slots.push_back({priority, tenant, std::move(taken.slot)});
    return true;
  }
  int Taken(int tries, Priority priority, const std::string& tenant = "") {
    int taken = 0;
    for (int i = 0; i < tries; ++i) taken += Take(priority, tenant);
    return taken;
  }
  int Held(const std::string& tenant) const {
    int held = 0;
    for (const auto& one : slots) held += one.tenant == tenant && !one.slot->evicted;
    return held;
  }

  struct One {
    Priority priority;
    std::string tenant;
    std::unique_ptr<Slot> slot;
  };
  SlotTable table;
  std::vector<One> slots;
};

TEST(SlotTableTest, OneClassMayFillTheWholeQueue) {
  for (const Priority priority : {Priority::kHigh, Priority::kNormal, Priority::kLow, Priority::kBatch}) {
    Queue queue(512);
    EXPECT_EQ(queue.Taken(600, priority), 512);
  }
}

TEST(SlotTableTest, TenantsGoBeforeEachOtherInTurns) {
  Queue queue(512);
  EXPECT_EQ(queue.table.ShareAhead(Priority::kNormal, "quiet"), 1);
  queue.Taken(100, Priority::kNormal, "noisy");
  EXPECT_EQ(queue.table.ShareAhead(Priority::kNormal, "noisy"), 1);
  EXPECT_EQ(queue.table.ShareAhead(Priority::kNormal, "quiet"), 0.01) << "one of the other, then its own";
  queue.Taken(20, Priority::kNormal, "third");
  EXPECT_EQ(queue.table.ShareAhead(Priority::kNormal, "quiet"), 2.0 / 120);
  EXPECT_EQ(queue.table.ShareAhead(Priority::kNormal, "third"), 41.0 / 120);
  queue.Taken(50, Priority::kNormal, "third");
  EXPECT_EQ(queue.table.ShareAhead(Priority::kNormal, "third"), 141.0 / 170);
  EXPECT_EQ(queue.table.ShareAhead(Priority::kLow, "quiet"), 1) << "classes are counted apart";
  // A crowd of tenants with one request each is a line like any other.
  Queue crowd(512);
  for (int i = 0; i < 100; ++i) crowd.Take(Priority::kNormal, std::to_string(i));
  EXPECT_EQ(crowd.table.ShareAhead(Priority::kNormal, "new"), 1);
  while (!queue.slots.empty()) {
    queue.table.Return(std::move(queue.slots.back().slot));
    queue.slots.pop_back();
  }
  EXPECT_EQ(queue.table.ShareAhead(Priority::kNormal, "quiet"), 1);
}

TEST(SlotTableTest, EveryClassGetsItsFloorBackFromTheLeastUrgentBorrower) {
  Queue queue(512);
  EXPECT_EQ(queue.Taken(300, Priority::kBatch), 300);
  EXPECT_EQ(queue.Taken(300, Priority::kNormal), 212);  // full; above its floor of 128
  EXPECT_EQ(queue.Taken(100, Priority::kHigh), 64);
  EXPECT_EQ(queue.table.slots(Priority::kBatch), 236);
  EXPECT_EQ(queue.Taken(100, Priority::kLow), 32);
  EXPECT_EQ(queue.table.slots(Priority::kBatch), 204);
  EXPECT_EQ(queue.table.slots(Priority::kNormal), 212) << "batch gives way first";
  EXPECT_EQ(queue.table.slots(), 512);
}

TEST(SlotTableTest, ALessUrgentClassGetsItsFloorFromAMoreUrgentBorrower) {
  Queue queue(512);
  EXPECT_EQ(queue.Taken(600, Priority::kNormal), 512);
  EXPECT_EQ(queue.Taken(100, Priority::kLow), 32);
  EXPECT_EQ(queue.Taken(10, Priority::kBatch), 0) << "batch has no floor";
  EXPECT_EQ(queue.table.slots(Priority::kNormal), 480);
}

TEST(SlotTableTest, TheNewestGivesWayAndAFloorIsNeverTaken) {
  Queue queue(8);  // floors 1, 2, 1
  EXPECT_EQ(queue.Taken(2, Priority::kNormal), 2);
  EXPECT_EQ(queue.Taken(6, Priority::kBatch), 6);
  EXPECT_TRUE(queue.Take(Priority::kHigh));
  EXPECT_TRUE(queue.slots[7].slot->evicted);
  for (int i = 0; i < 7; ++i) EXPECT_FALSE(queue.slots[i].slot->evicted) << i;
  EXPECT_FALSE(queue.Take(Priority::kHigh)) << "its floor is used";
  EXPECT_FALSE(queue.Take(Priority::kNormal)) << "its floor is used";
}

TEST(SlotTableTest, SmallQueuesServeTheUrgentFirst) {
  Queue one(1);  // one floor only: high's
  EXPECT_TRUE(one.Take(Priority::kLow));
  EXPECT_FALSE(one.Take(Priority::kNormal));
  EXPECT_TRUE(one.Take(Priority::kHigh));
  EXPECT_TRUE(one.slots[0].slot->evicted);
  EXPECT_EQ(one.table.slots(), 1);
  Queue two(2);
  EXPECT_EQ(two.Taken(2, Priority::kLow), 2);
  EXPECT_TRUE(two.Take(Priority::kNormal));
  EXPECT_TRUE(two.Take(Priority::kHigh));
  EXPECT_EQ(two.table.slots(Priority::kLow), 0);
}

TEST(SlotTableTest, AQuietTenantGetsItsSlotsBesideANoisyOne) {
  Queue queue(100);
  EXPECT_EQ(queue.Taken(500, Priority::kNormal, "noisy"), 100);
  for (int i = 0; i < 50; ++i) EXPECT_TRUE(queue.Take(Priority::kNormal, "quiet")) << i;
  EXPECT_EQ(queue.Held("noisy"), 50);
  EXPECT_FALSE(queue.Take(Priority::kNormal, "quiet")) << "no more than half while the other waits";
  EXPECT_FALSE(queue.Take(Priority::kNormal, "noisy"));
  EXPECT_TRUE(queue.Take(Priority::kNormal, "third")) << "a newcomer is never locked out by two that share";
  EXPECT_EQ(queue.table.slots(), 100);
}

TEST(SlotTableTest, ClassesDoNotPayForEachOthersTenants) {
  Queue queue(64);  // floors 8, 16, 4
  EXPECT_EQ(queue.Taken(60, Priority::kNormal, "a"), 60);
  EXPECT_EQ(queue.Taken(60, Priority::kHigh, "b"), 8);
  EXPECT_FALSE(queue.Take(Priority::kHigh, "b"));
  EXPECT_TRUE(queue.Take(Priority::kHigh, "c")) << "taken from b, the largest of its own class";
  EXPECT_EQ(queue.Held("b"), 7);
  EXPECT_EQ(queue.Held("a"), 56);
}

TEST(SlotTableTest, TokensAreLimitedAndReclaimedTheSameWay) {
  Queue queue(512, /*max_tokens=*/1000);  // floors 125, 250, 62
  EXPECT_TRUE(queue.Take(Priority::kBatch, "", 600));
  EXPECT_TRUE(queue.Take(Priority::kBatch, "", 300));
  EXPECT_TRUE(queue.Take(Priority::kBatch, "", 60));
  EXPECT_FALSE(queue.Take(Priority::kNormal, "", 300)) << "above its floor";
  EXPECT_TRUE(queue.Take(Priority::kNormal, "", 200)) << "the newest two of batch give way";
  EXPECT_FALSE(queue.slots[0].slot->evicted);
  EXPECT_TRUE(queue.slots[1].slot->evicted);
  EXPECT_TRUE(queue.slots[2].slot->evicted);
  EXPECT_EQ(queue.table.tokens(), 800);
  EXPECT_EQ(queue.table.tokens(Priority::kNormal), 200);
}

TEST(SlotTableTest, OnePromptAboveTheTokenLimitEntersAQueueWithoutTokens) {
  Queue queue(512, /*max_tokens=*/100);
  EXPECT_TRUE(queue.Take(Priority::kNormal, "", 5000));
  EXPECT_FALSE(queue.Take(Priority::kNormal, "", 1));
}

TEST(SlotTableTest, AnEvictionNamesTheModelWhoseQueueHoldsTheVictim) {
  Queue queue(2);
  EXPECT_EQ(queue.Taken(2, Priority::kBatch), 2);
  queue.slots[1].slot->where.model_index = 3;
  SlotTable::Taken high = queue.table.Take({Priority::kHigh, "", 1});
  ASSERT_EQ(high.evicted.size(), 1u);
  EXPECT_EQ(high.evicted[0].model_index, 3);
  EXPECT_EQ(high.evicted[0].priority, Priority::kBatch);
  SlotTable::Taken normal = queue.table.Take({Priority::kNormal, "", 1});
  ASSERT_EQ(normal.evicted.size(), 1u);
  EXPECT_EQ(normal.evicted[0].model_index, -1) << "it is being parsed still";
  EXPECT_TRUE(queue.slots[0].slot->evicted);
  for (auto& one : queue.slots) queue.table.Return(std::move(one.slot));
  EXPECT_EQ(queue.table.slots(), 2);
  EXPECT_EQ(queue.table.tokens(), 2);
  queue.table.Return(std::move(high.slot));
  queue.table.Return(std::move(normal.slot));
  EXPECT_EQ(queue.table.slots(), 0);
  EXPECT_EQ(queue.table.tokens(), 0);
}

// Random comings and goings against the rules themselves.
TEST(SlotTableTest, HoldsItsRulesUnderAStorm) {
  constexpr int64_t kSlots = 40, kTokens = 400;
  std::mt19937 random(7);
  const auto pick = [&](int n) { return static_cast<int>(random() % static_cast<uint32_t>(n)); };
  Queue queue(kSlots, kTokens);
  for (int round = 0; round < 20000; ++round) {
    const auto priority = static_cast<Priority>(pick(request::kNumPriorities));
    if (pick(3) > 0) {
      const int64_t before = queue.table.slots(priority);
      const int64_t tokens = 1 + pick(20);
      const bool owed = before < queue.table.slot_floor(priority) && queue.table.tokens() + tokens <= kTokens;
      const bool taken = queue.Take(priority, std::to_string(pick(5)), tokens);
      ASSERT_TRUE(taken || !owed) << "round " << round << ": a class below its floor was refused";
      ASSERT_TRUE(taken || queue.table.slots() == kSlots || queue.table.tokens() + tokens > kTokens)
          << "round " << round << ": refused although there was room";
    } else if (!queue.slots.empty()) {
      const int which = pick(static_cast<int>(queue.slots.size()));
      if (pick(2) == 0) {
        auto& one = queue.slots[which];
        if (one.slot->evicted) continue;
        if (pick(3) == 0) one.priority = static_cast<Priority>(pick(request::kNumPriorities));
        queue.table.Settle(*one.slot, one.priority, 1 + pick(30));
      } else {
        queue.table.Return(std::move(queue.slots[which].slot));
        queue.slots.erase(queue.slots.begin() + which);
      }
    }
    ByClass<int64_t> held = {};
    int64_t all = 0;
    for (const auto& one : queue.slots) {
      held[static_cast<size_t>(one.priority)] += !one.slot->evicted;
      all += !one.slot->evicted;
    }
    ASSERT_EQ(queue.table.slots(), all);
    ASSERT_LE(all, kSlots);
    for (int rank = 0; rank < request::kNumPriorities; ++rank) {
      ASSERT_EQ(queue.table.slots(static_cast<Priority>(rank)), held[rank]);
    }
  }
  for (auto& one : queue.slots) queue.table.Return(std::move(one.slot));
  EXPECT_EQ(queue.table.slots(), 0);
  EXPECT_EQ(queue.table.tokens(), 0);
}

}  // namespace
}  // namespace hadal::admission
