// SPDX-License-Identifier: Apache-2.0
#include "server/kv_events/event_batch.h"

#include <gtest/gtest.h>

#include "absl/strings/escaping.h"

namespace hadal::kv_events {
namespace {

std::string Hex(const std::string& bytes) { return absl::BytesToHexString(bytes); }

constexpr char kBlockStored[] = "ab426c6f636b53746f726564";
constexpr char kBlockRemoved[] = "ac426c6f636b52656d6f766564";
constexpr char kCleared[] = "b0416c6c426c6f636b73436c6561726564";
constexpr char kGpu[] = "a3475055";
constexpr char kHead[] = "93cb3ff8000000000000";  // three elements, the first of them 1.5

// Written with Python's msgpack, from the same values.
TEST(EventBatchTest, HasTheBytesThatVllmsReadersTake) {
  EventBatch batch;
  EXPECT_TRUE(batch.empty());
  batch.Stored(7, std::nullopt, {1, 2});
  batch.Stored(8, 7, {300, 70000});
  batch.Removed(5);
  batch.Removed(uint64_t{1} << 40);
  batch.Cleared();
  EXPECT_FALSE(batch.empty());
  EXPECT_EQ(Hex(batch.Finish(1.5)), std::string(kHead) + "93" + "97" + kBlockStored + "92" + "0708" + "c0" + "94" +
                                        "0102" + "cd012c" + "ce00011170" + "02" + "c0" + kGpu + "93" + kBlockRemoved +
                                        "92" + "05" + "cf0000010000000000" + kGpu + "91" + kCleared + "00");
  EXPECT_TRUE(batch.empty());
  EXPECT_EQ(Hex(batch.Finish(1.5)), std::string(kHead) + "90" + "00");
}

// Written with Python's msgpack, too.
TEST(EventBatchTest, ASaltIsAnExtraKeyOfTheFirstBlock) {
  EventBatch batch;
  batch.Stored(7, std::nullopt, {1, 2}, "blue");
  batch.Stored(8, 7, {300, 70000});
  batch.Stored(9, std::nullopt, {1, 2});
  EXPECT_EQ(Hex(batch.Finish(1.5)), std::string(kHead) + "92" +  //
                                        "99" + kBlockStored + "920708" + "c0" + "940102cd012cce00011170" + "02c0" +
                                        kGpu + "c0" + "92" + "91a4626c7565" + "c0" +  //
                                        "97" + kBlockStored + "9109" + "c0" + "920102" + "02c0" + kGpu + "00");
}

TEST(EventBatchTest, OnlyAChainMakesOneEvent) {
  EventBatch batch;
  batch.Stored(7, std::nullopt, {1, 2});
  batch.Stored(9, std::nullopt, {3, 4});                         // another prompt
  batch.Stored(10, 7, {5, 6});                                   // goes on behind the first, not behind the last
  EXPECT_EQ(Hex(batch.Finish(1.5)), std::string(kHead) + "93" +  //
                                        "97" + kBlockStored + "9107" + "c0" + "920102" + "02c0" + kGpu +  //
                                        "97" + kBlockStored + "9109" + "c0" + "920304" + "02c0" + kGpu +  //
                                        "97" + kBlockStored + "910a" + "07" + "920506" + "02c0" + kGpu + "00");
}

TEST(EventBatchTest, OrderIsKept) {
  EventBatch batch;
  batch.Removed(1);
  batch.Stored(1, std::nullopt, {1});
  batch.Removed(1);
  EXPECT_GT(batch.bytes(), 0u);
  EXPECT_EQ(Hex(batch.Finish(1.5)), std::string(kHead) + "93" + "93" + kBlockRemoved + "9101" + kGpu +  //
                                        "97" + kBlockStored + "9101" + "c0" + "9101" + "01c0" + kGpu +  //
                                        "93" + kBlockRemoved + "9101" + kGpu + "00");
}

}  // namespace
}  // namespace hadal::kv_events
