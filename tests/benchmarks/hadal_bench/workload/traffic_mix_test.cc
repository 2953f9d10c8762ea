// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/workload/traffic_mix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hadal::bench {
namespace {

TEST(TrafficMixTest, ReadsClassesAndTenants) {
  const auto classes = ParseClasses("high:0.5,low");
  ASSERT_TRUE(classes.ok()) << classes.status();
  EXPECT_EQ((*classes)[0].value, "high");
  EXPECT_DOUBLE_EQ((*classes)[1].weight, 1);
  const auto tenant = ParseTenant("noisy=sk-a:b:9");
  ASSERT_TRUE(tenant.ok()) << tenant.status();
  EXPECT_EQ(tenant->name, "noisy");
  EXPECT_EQ(tenant->value, "sk-a:b");
  EXPECT_DOUBLE_EQ(tenant->weight, 9);
  EXPECT_EQ(ParseTenant("quiet=key")->value, "key");
}

TEST(TrafficMixTest, ChoosesByWeight) {
  const std::vector<TrafficShare> shares = {{"a", "a", 1}, {"b", "b", 3}};
  EXPECT_EQ(ChooseShare(shares, 0.24), 0);
  EXPECT_EQ(ChooseShare(shares, 0.26), 1);
  EXPECT_EQ(ChooseShare(shares, 0.9999), 1);
  EXPECT_EQ(ChooseShare({}, 0.5), 0);
}

TEST(TrafficMixTest, RefusesNonsenseWithoutShowingKeys) {
  for (const char* text : {"", "high:0", "high:x", ",", "high:1,:2"}) EXPECT_FALSE(ParseClasses(text).ok()) << text;
  for (const char* text : {"", "sk-secret", "=sk-secret", "a=", "a=sk-secret:0"}) {
    const auto tenant = ParseTenant(text);
    EXPECT_FALSE(tenant.ok()) << text;
    EXPECT_THAT(std::string(tenant.status().message()), testing::Not(testing::HasSubstr("secret")));
  }
}

}  // namespace
}  // namespace hadal::bench
