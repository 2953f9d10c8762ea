// SPDX-License-Identifier: Apache-2.0
#include "server/http/connection_table.h"

#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/metric_value.h"

namespace hadal::http {
namespace {

using hadal::testing::MetricValue;
using std::chrono::seconds;
using Phase = ConnectionTable::Phase;

class ConnectionTableTest : public ::testing::Test {
 protected:
  static ConnectionTable::TimePoint At(int second) { return ConnectionTable::TimePoint(seconds(1000 + second)); }

  ConnectionTable::Handle Add(const std::string& name, Phase phase, int second, const std::string& network = "n") {
    ConnectionTable::Handle handle = table_.Add(
        network, [this, name] { closed_.push_back(name); }, At(0));
    handle.Enter(phase, At(second));
    return handle;
  }

  base::MetricRegistry registry_;
  HttpMetrics metrics_{&registry_};
  ConnectionTable table_{&metrics_};
  std::vector<std::string> closed_;
};

TEST_F(ConnectionTableTest, TheLongestIdleGivesWayFirst) {
  const auto body = Add("body", Phase::kBody, 0);
  const auto silent = Add("silent", Phase::kSilent, 3);
  const auto idle = Add("idle", Phase::kIdle, 1);
  const auto closing = Add("closing", Phase::kClosing, 2);
  const auto busy = Add("busy", Phase::kBusy, 0);
  while (table_.MakeRoom(At(60))) {
  }
  EXPECT_EQ(closed_, (std::vector<std::string>{"idle", "closing", "silent", "body"}));
  EXPECT_EQ(table_.ending(), 4);
}

TEST_F(ConnectionTableTest, AClientThatHasJustConnectedHasTimeToSend) {
  const auto silent = Add("silent", Phase::kSilent, 0);
  const auto time = ConnectionTable::kMinSilence;
  EXPECT_FALSE(table_.MakeRoom(At(0) + time - std::chrono::milliseconds(1), time));
  EXPECT_TRUE(table_.MakeRoom(At(0) + time, time));
  EXPECT_EQ(closed_, std::vector<std::string>{"silent"});
  const auto another = Add("another", Phase::kSilent, 0);
  EXPECT_TRUE(table_.MakeRoom(At(0))) << "where descriptors have run out it has none";
}

// A refused connection that lingers must not make the next one look admitted.
TEST_F(ConnectionTableTest, SilentAndClosingOnesHoldNoPlace) {
  const auto busy = Add("busy", Phase::kBusy, 0);
  const auto silent = Add("silent", Phase::kSilent, 0);
  const auto closing = Add("closing", Phase::kClosing, 0);
  EXPECT_TRUE(table_.MakePlace(1, At(60)));
  const auto asking = Add("asking", Phase::kBusy, 60);
  EXPECT_FALSE(table_.MakePlace(1, At(60)));
  EXPECT_TRUE(closed_.empty());
}

TEST_F(ConnectionTableTest, OneEndsForAPlaceAndCountsNoMore) {
  const auto body = Add("body", Phase::kBody, 0);
  const auto asking = Add("asking", Phase::kBusy, 60);
  EXPECT_TRUE(table_.MakePlace(1, At(60)));
  EXPECT_EQ(closed_, std::vector<std::string>{"body"});
  EXPECT_TRUE(table_.MakePlace(1, At(60)));
  EXPECT_EQ(table_.ending(), 1);
}

TEST_F(ConnectionTableTest, UploadsThatMakeProgressStay) {
  auto body = Add("body", Phase::kBody, 0);
  body.Touch(At(10));
  EXPECT_FALSE(table_.MakeRoom(At(10)));
  EXPECT_TRUE(table_.MakeRoom(At(11)));
}

TEST_F(ConnectionTableTest, AClientBetweenTwoRequestsStays) {
  auto kept = Add("kept", Phase::kIdle, 10);
  EXPECT_FALSE(table_.MakeRoom(At(10)));
  kept.Enter(Phase::kBusy, At(10));
  kept.Enter(Phase::kIdle, At(12));
  EXPECT_FALSE(table_.MakeRoom(At(12)));
  EXPECT_TRUE(table_.MakeRoom(At(13)));
}

TEST_F(ConnectionTableTest, OfWaitingUploadsTheNetworkWithMostGivesWay) {
  const auto only = Add("only", Phase::kBody, 0, "quiet");
  const auto first = Add("first", Phase::kBody, 5, "greedy");
  const auto second = Add("second", Phase::kHead, 4, "greedy");
  EXPECT_TRUE(table_.MakeRoom(At(60)));
  EXPECT_EQ(closed_, std::vector<std::string>{"second"});
}

TEST_F(ConnectionTableTest, NobodyIsToldTwiceAndTheEndedAreForgotten) {
  auto one = Add("one", Phase::kIdle, 0);
  ConnectionTable::Handle moved = std::move(one);
  EXPECT_TRUE(table_.MakeRoom(At(1)));
  EXPECT_FALSE(table_.MakeRoom(At(1)));
  EXPECT_EQ(table_.ending(), 1);
  moved.Enter(Phase::kIdle, At(2));  // not ended yet, and told already
  EXPECT_FALSE(table_.MakeRoom(At(3)));
  moved.Release();
  moved.Release();
  EXPECT_EQ(table_.ending(), 0);
  EXPECT_EQ(closed_, std::vector<std::string>{"one"});
}

TEST_F(ConnectionTableTest, TheLastCloserCounts) {
  auto one = Add("first", Phase::kIdle, 0);
  one.SetClose([this] { closed_.push_back("second"); });
  EXPECT_TRUE(table_.MakeRoom(At(1)));
  EXPECT_EQ(closed_, std::vector<std::string>{"second"});
}

TEST_F(ConnectionTableTest, EvictionsAreCountedByPhase) {
  const auto idle = Add("idle", Phase::kIdle, 0);
  const auto body = Add("body", Phase::kBody, 0);
  EXPECT_TRUE(table_.MakeRoom(At(60)));
  EXPECT_TRUE(table_.MakeRoom(At(60)));
  EXPECT_EQ(MetricValue(registry_, "hadal_connections_evicted_total{phase=\"idle\"}"), 1);
  EXPECT_EQ(MetricValue(registry_, "hadal_connections_evicted_total{phase=\"body\"}"), 1);
  EXPECT_EQ(MetricValue(registry_, "hadal_connections_evicted_total{phase=\"busy\"}"), 0);
}

}  // namespace
}  // namespace hadal::http
