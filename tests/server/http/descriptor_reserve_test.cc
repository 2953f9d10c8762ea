// SPDX-License-Identifier: Apache-2.0
#include "server/http/descriptor_reserve.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <vector>

#include "gtest/gtest.h"

namespace hadal::http {
namespace {

TEST(DescriptorReserveTest, GivesUpWhatItHolds) {
  DescriptorReserve reserve(2);
  EXPECT_EQ(reserve.held(), 2u);
  EXPECT_TRUE(reserve.Release());
  EXPECT_TRUE(reserve.Release());
  EXPECT_FALSE(reserve.Release());
  reserve.Refill();
  EXPECT_EQ(reserve.held(), 2u);
}

TEST(DescriptorReserveTest, OneThatWasGivenUpCanBeOpenedWhenNoneIsLeft) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit few{64, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  {
    DescriptorReserve reserve(2);
    std::vector<int> taken;
    for (int fd = ::open("/dev/null", O_RDONLY); fd >= 0; fd = ::open("/dev/null", O_RDONLY)) taken.push_back(fd);
    EXPECT_TRUE(reserve.Release());
    const int fd = ::open("/dev/null", O_RDONLY);
    EXPECT_GE(fd, 0);
    reserve.Refill();
    EXPECT_EQ(reserve.held(), 1u);  // there is nothing to take back yet
    ::close(fd);
    reserve.Refill();
    EXPECT_EQ(reserve.held(), 2u);
    for (const int open : taken) ::close(open);
  }
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
}

}  // namespace
}  // namespace hadal::http
