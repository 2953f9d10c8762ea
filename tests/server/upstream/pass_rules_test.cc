// SPDX-License-Identifier: Apache-2.0
#include "server/upstream/pass_rules.h"

#include "gtest/gtest.h"
#include "server/request/refusal.h"
#include "tests/server/upstream/upstream_fixture.h"

namespace hadal::upstream {
namespace {

using hadal::testing::UpstreamFixture;
using request::MakeError;
using request::Reason;

TEST(PassRulesTest, HopsAndWishesDecideWhetherARequestMayLeave) {
  UpstreamFixture fixture({"http://127.0.0.1:1"}, [](UpstreamOptions& options) { options.max_hops = 2; });
  const Upstreams* const upstreams = fixture.upstreams.get();
  EXPECT_EQ(HopsIfAllowed(nullptr, {}), std::nullopt);
  EXPECT_EQ(HopsIfAllowed(upstreams, {}), 0);
  EXPECT_EQ(HopsIfAllowed(upstreams, {.hop = "1"}), 1);
  for (const char* hop : {"2", "-1", "many", "99999999999"}) {
    EXPECT_EQ(HopsIfAllowed(upstreams, {.hop = hop}), std::nullopt) << hop;
  }
  EXPECT_EQ(HopsIfAllowed(upstreams, {.allow_fallback = "0"}), std::nullopt);
  EXPECT_EQ(HopsIfAllowed(upstreams, {.allow_fallback = "1", .allow_degraded = false}), std::nullopt);
  UpstreamFixture asks({"http://127.0.0.1:1"}, [](UpstreamOptions& options) { options.opt_in = true; });
  EXPECT_EQ(HopsIfAllowed(asks.upstreams.get(), {}), std::nullopt);
  EXPECT_EQ(HopsIfAllowed(asks.upstreams.get(), {.allow_fallback = "1"}), 0);
}

TEST(PassRulesTest, OnlyRefusalsForLackOfCapacityAreForOthers) {
  for (const Reason reason :
       {Reason::kConnectionQueueFull, Reason::kGpuMemoryExhausted, Reason::kPreemptedInQueue, Reason::kModelLoading}) {
    EXPECT_TRUE(IsForOthers(MakeError(reason, "full"), false));
  }
  for (const Reason reason : {Reason::kConnectionLimit, Reason::kInvalidRequest, Reason::kTenantQuota,
                              Reason::kUnauthenticated, Reason::kDeadlineExpired, Reason::kCancelled}) {
    EXPECT_FALSE(IsForOthers(MakeError(reason, "no"), true));
  }
  EXPECT_FALSE(IsForOthers(absl::OkStatus(), true));
  EXPECT_FALSE(IsForOthers(MakeError(Reason::kDraining, "drains"), false));
  EXPECT_TRUE(IsForOthers(MakeError(Reason::kDraining, "drains"), true));
}

}  // namespace
}  // namespace hadal::upstream
