// SPDX-License-Identifier: Apache-2.0
#include "server/commands/device_metrics.h"

#include <memory>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hadal::commands {
namespace {

using ::testing::HasSubstr;

// A model whose device counts what the test says.
class CountingModel : public models::Model {
 public:
  CountingModel() { info_.name = "counting"; }
  const models::ModelInfo& info() const override { return info_; }
  const models::KvLayout& kv_layout() const override { return kv_layout_; }
  models::DeviceCounters device_counters() const override { return counters; }
  int64_t WorkspaceBytes(int32_t, int32_t) const override { return 0; }
  absl::Status AllocateKvCache(const models::KvCacheSize&) override { return absl::OkStatus(); }
  absl::StatusOr<models::StepHandle> Launch(models::StepInput) override { return models::StepHandle{1}; }
  absl::StatusOr<models::StepOutput> Wait(models::StepHandle) override { return models::StepOutput(); }

  models::DeviceCounters counters;

 private:
  models::ModelInfo info_;
  models::KvLayout kv_layout_;
};

TEST(DeviceMetricsTest, AScrapeShowsWhatTheDeviceHasCounted) {
  base::MetricRegistry registry;
  DeviceMetrics metrics(&registry);
  auto model = std::make_shared<CountingModel>();
  metrics.Watch({model});
  EXPECT_THAT(registry.Expose(), HasSubstr("hadal_refused_products_total{model=\"counting\"} 0\n"));
  model->counters.refused_products = 3;
  EXPECT_THAT(registry.Expose(), HasSubstr("hadal_refused_products_total{model=\"counting\"} 3\n"));
  model->counters.refused_products = 5;
  EXPECT_THAT(registry.Expose(), HasSubstr("hadal_refused_products_total{model=\"counting\"} 5\n"));
}

TEST(DeviceMetricsTest, AScrapeShowsWhatMpsGives) {
  base::MetricRegistry registry;
  DeviceMetrics metrics(&registry);
  EXPECT_THAT(registry.Expose(), HasSubstr("hadal_mps_enabled 0\n"));
  metrics.SetMps({.used = true, .memory_limit_bytes = 6000, .active_thread_ratio = 0.25},
                 {.multiprocessors = 33, .mps = true});
  const std::string text = registry.Expose();
  EXPECT_THAT(text, HasSubstr("hadal_mps_enabled 1\n"));
  EXPECT_THAT(text, HasSubstr("hadal_mps_sms 33\n"));
  EXPECT_THAT(text, HasSubstr("hadal_mps_memory_limit_bytes 6000\n"));
  EXPECT_THAT(text, HasSubstr("hadal_mps_active_thread_ratio 0.25\n"));
}

TEST(DeviceMetricsTest, AScrapeShowsAFaultOfTheMpsServerWhileItLasts) {
  base::MetricRegistry registry;
  DeviceMetrics metrics(&registry);
  EXPECT_THAT(registry.Expose(), HasSubstr("hadal_mps_fault 0\n"));
  metrics.SetMpsFault(true);
  EXPECT_THAT(registry.Expose(), HasSubstr("hadal_mps_fault 1\n"));
  metrics.SetMpsFault(false);
  EXPECT_THAT(registry.Expose(), HasSubstr("hadal_mps_fault 0\n"));
}

}  // namespace
}  // namespace hadal::commands
