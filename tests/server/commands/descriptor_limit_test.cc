// SPDX-License-Identifier: Apache-2.0
#include "server/commands/descriptor_limit.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "gtest/gtest.h"

namespace hadal::commands {
namespace {

// Runs `body` in a child with these limits of file descriptors: a hard limit cannot be raised again.
bool Under(rlim_t soft, rlim_t hard, const std::function<bool()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit limits{soft, hard};
    const bool ok = ::setrlimit(RLIMIT_NOFILE, &limits) == 0 && body();
    ::_exit(ok ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  return status == 0;
}

TEST(DescriptorLimitTest, TheSoftLimitIsRaisedAsFarAsIsNeeded) {
  EXPECT_TRUE(Under(64, 1000, [] {
    const DescriptorPlan plan = PlanDescriptors(100, 50, /*tls=*/false).value();
    rlimit now{};
    ::getrlimit(RLIMIT_NOFILE, &now);
    return plan.needed > 406 && plan.limit == plan.needed && plan.max_connections == 100 &&
           now.rlim_cur == static_cast<rlim_t>(plan.needed);
  }));
}

TEST(DescriptorLimitTest, ALimitThatIsHighEnoughStays) {
  EXPECT_TRUE(Under(900, 1000, [] {
    const DescriptorPlan plan = PlanDescriptors(100, 50, /*tls=*/false).value();
    return plan.limit == 900 && plan.max_connections == 100;
  }));
}

TEST(DescriptorLimitTest, UnderALowHardLimitFewerClientsAreTaken) {
  EXPECT_TRUE(Under(64, 1000, [] {
    const DescriptorPlan plan = PlanDescriptors(4096, 50, /*tls=*/false).value();
    return plan.limit == 1000 && plan.max_connections == 1000 - (plan.needed - 4096);
  }));
  EXPECT_TRUE(Under(64, 64, [] {
    const DescriptorPlan plan = PlanDescriptors(4096, 50, /*tls=*/false).value();
    return plan.limit == 64 && plan.max_connections == 32;
  }));
}

TEST(DescriptorLimitTest, UnderTlsAConnectionHasThree) {
  EXPECT_TRUE(Under(64, 4000, [] {
    const DescriptorPlan plain = PlanDescriptors(100, 50, /*tls=*/false).value();
    const DescriptorPlan tls = PlanDescriptors(200, 50, /*tls=*/true).value();
    const DescriptorPlan more = PlanDescriptors(201, 50, /*tls=*/true).value();
    return tls.needed > plain.needed && more.needed == tls.needed + 3 && tls.max_connections == 200;
  }));
  EXPECT_TRUE(Under(64, 1200, [] {
    const DescriptorPlan plan = PlanDescriptors(4096, 1, /*tls=*/true).value();
    return plan.limit == 1200 && plan.max_connections == 200;
  }));
}

TEST(DescriptorLimitTest, ConnectionsToUpstreamsComeOnTop) {
  EXPECT_TRUE(Under(64, 1000, [] {
    const DescriptorPlan without = PlanDescriptors(100, 50, /*tls=*/false).value();
    const DescriptorPlan with = PlanDescriptors(100, 50, /*tls=*/false, /*upstream_connections=*/64).value();
    return with.needed == without.needed + 64 && with.limit == with.needed;
  }));
}

}  // namespace
}  // namespace hadal::commands
