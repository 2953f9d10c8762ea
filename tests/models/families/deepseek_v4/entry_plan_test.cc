// SPDX-License-Identifier: Apache-2.0
#include "models/families/deepseek_v4/entry_plan.h"

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/backend.h"
#include "tests/models/step_builder.h"

namespace hadal::models {
namespace {

using testing::StepBuilder;

constexpr int32_t kBlockTokens = 8;
constexpr int32_t kBlocksPerSequence = 10;

struct Entry {
  int64_t sequence, number, position, slot;
  bool operator==(const Entry&) const = default;
};

class EntryPlanTest : public ::testing::Test {
 protected:
  std::vector<Entry> Plan(int64_t ratio, StepInput input) {
    EntryPlanner planner(ratio);
    StepUpload upload(backend_.get());
    planner.Plan(input, kBlockTokens, upload);
    EXPECT_TRUE(upload.Commit().ok());
    planner.Bind(upload);
    const EntryBatch& batch = planner.entries();
    std::vector<Entry> entries;
    for (int64_t i = 0; i < batch.count(); ++i) {
      entries.push_back({batch.sequences.as<const int32_t>()[i], batch.numbers.as<const int32_t>()[i],
                         batch.positions.as<const int32_t>()[i], batch.slots.as<const int64_t>()[i]});
    }
    return entries;
  }

  std::unique_ptr<kernels::Backend> backend_ = *kernels::CreateBackend("reference", {});
};

StepInput Step(std::vector<std::pair<int32_t, int32_t>> cached_and_new) {
  StepBuilder builder(kBlockTokens, kBlocksPerSequence, /*windowed=*/true);
  int32_t sequence = 0;
  for (const auto& [cached, tokens] : cached_and_new) builder.Add(sequence++, cached, std::vector<int32_t>(tokens, 3));
  return builder.Take();
}

TEST_F(EntryPlanTest, AnEntryIsDueWithTheLastTokenOfItsGroup) {
  EXPECT_EQ(Plan(4, Step({{0, 3}})), std::vector<Entry>{});
  EXPECT_EQ(Plan(4, Step({{0, 4}})), (std::vector<Entry>{{0, 0, 0, 0}}));
  EXPECT_EQ(Plan(4, Step({{3, 1}})), (std::vector<Entry>{{0, 0, 0, 0}}));
  EXPECT_EQ(Plan(4, Step({{4, 3}})), std::vector<Entry>{});
  EXPECT_EQ(Plan(4, Step({{7, 1}})), (std::vector<Entry>{{0, 1, 4, 1}}));
  EXPECT_EQ(Plan(4, Step({{6, 7}})), (std::vector<Entry>{{0, 1, 4, 1}, {0, 2, 8, 2}}));
}

TEST_F(EntryPlanTest, SlotsFollowTheBlockTable) {
  // Sequence 1 owns the blocks from 10 on; a block of 8 tokens holds two entries of 4 and one of 8.
  EXPECT_EQ(Plan(4, Step({{0, 2}, {17, 8}})), (std::vector<Entry>{{1, 4, 16, 24}, {1, 5, 20, 25}}));
  EXPECT_EQ(Plan(8, Step({{0, 2}, {17, 8}})), (std::vector<Entry>{{1, 2, 16, 12}}));
}

// However a prompt is cut, every entry is made once.
TEST_F(EntryPlanTest, ChunksMakeTheSameEntriesAsTheWholePrompt) {
  for (const int64_t ratio : {2, 4, 8}) {
    const std::vector<Entry> whole = Plan(ratio, Step({{0, 61}}));
    EXPECT_EQ(static_cast<int64_t>(whole.size()), 61 / ratio);
    for (const int32_t chunk : {1, 3, 5, 16}) {
      std::vector<Entry> entries;
      for (int32_t cached = 0; cached < 61; cached += chunk) {
        for (const Entry& entry : Plan(ratio, Step({{cached, std::min(chunk, 61 - cached)}}))) entries.push_back(entry);
      }
      EXPECT_EQ(entries, whole) << "ratio " << ratio << ", chunk " << chunk;
    }
  }
}

// Slot of every new token when blocks keep one row for `spacing` tokens.
std::vector<int64_t> CycleSlots(kernels::Backend* backend, int64_t spacing, const StepInput& input) {
  CyclePlanner planner(spacing);
  StepUpload upload(backend);
  planner.Plan(input, kBlockTokens, upload);
  EXPECT_TRUE(upload.Commit().ok());
  planner.Bind(upload);
  const int64_t* slots = planner.slots().as<const int64_t>();
  return {slots, slots + planner.slots().size(0)};
}

TEST_F(EntryPlanTest, ACycleKeepsTheNewestRowsOfEveryBlock) {
  // Blocks of 8 tokens with 4 rows. Positions 6..20: of 6 and 7 both stay, of 8..15 the last four, of 16..20 also.
  EXPECT_EQ(CycleSlots(backend_.get(), 2, Step({{6, 15}})),
            (std::vector<int64_t>{2, 3, -1, -1, -1, -1, 4, 5, 6, 7, -1, 9, 10, 11, 8}));
  EXPECT_EQ(CycleSlots(backend_.get(), 1, Step({{6, 3}})), (std::vector<int64_t>{6, 7, 8}));
}

// What a group and the group before it need of older steps is in the cache when the step comes, however the prompt is
// cut.
TEST_F(EntryPlanTest, EveryGroupFindsItsOldRowsInTheCycle) {
  constexpr int64_t kRatio = 2, kSpacing = 2, kRows = kBlockTokens / kSpacing;  // 4 rows: two groups
  for (const int32_t chunk : {1, 2, 3, 5, 7, 8, 16}) {
    std::map<int64_t, int64_t> cache;  // slot to position
    for (int32_t cached = 0; cached < 61; cached += chunk) {
      const StepInput step = Step({{cached, std::min(chunk, 61 - cached)}});
      for (const Entry& entry : Plan(kRatio, step)) {
        const int64_t end = entry.position + kRatio;
        for (int64_t p = std::max<int64_t>(entry.position - kRatio, 0); p < std::min<int64_t>(end, cached); ++p) {
          EXPECT_EQ(cache[p / kBlockTokens * kRows + p % kBlockTokens % kRows], p) << "chunk " << chunk;
        }
      }
      const std::vector<int64_t> slots = CycleSlots(backend_.get(), kSpacing, step);
      std::set<int64_t> written;
      for (size_t i = 0; i < slots.size(); ++i) {
        if (slots[i] < 0) continue;
        EXPECT_TRUE(written.insert(slots[i]).second) << "a slot twice in one step";
        cache[slots[i]] = cached + static_cast<int64_t>(i);
      }
    }
  }
}

}  // namespace
}  // namespace hadal::models
