// SPDX-License-Identifier: Apache-2.0
#include "server/commands/gpu_metrics.h"

#include <memory>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/base/notification.h"
#include "server/commands/gpu_monitor.h"
#include "server/commands/gpu_watch.h"

namespace hadal::commands {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST(GpuMonitorTest, ReadsWhatTheDriverSays) {
  auto monitor = GpuMonitor::Open("0000:65:00.0", HADAL_FAKE_NVML);
  ASSERT_TRUE(monitor.ok()) << monitor.status();
  const GpuReading first = (*monitor)->Read();
  EXPECT_EQ(first.utilization_ratio, 0.75);
  EXPECT_EQ(first.memory_used_bytes, 600);
  EXPECT_EQ(first.memory_total_bytes, 1000);
  EXPECT_EQ(first.processes, 3);
  EXPECT_EQ(first.mps_clients, 2);
  EXPECT_EQ(first.sm_clock_hertz, 1980000000);
  EXPECT_EQ(first.multiprocessors, 132);
  EXPECT_THAT(first.xids, ElementsAre(31u, 43u));
  EXPECT_THAT((*monitor)->Read().xids, IsEmpty());  // none has come since
}

TEST(GpuMonitorTest, AMachineWithoutTheLibraryHasNothingToMonitor) {
  EXPECT_EQ(GpuMonitor::Open("0000:65:00.0", "libnvidia-ml-absent.so.1").status().code(), absl::StatusCode::kNotFound);
}

TEST(GpuMonitorTest, AnUnknownGpuAndAStrangeLibraryAreRefused) {
  const absl::Status unknown = GpuMonitor::Open("0000:17:00.0", HADAL_FAKE_NVML).status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(unknown.message()), HasSubstr("device 0000:17:00.0: error 6"));
  EXPECT_THAT(std::string(GpuMonitor::Open("0000:65:00.0", "libm.so.6").status().message()),
              HasSubstr("lacks what every version has"));
}

// Says what the test says, once the test lets it.
class ScriptedMonitor final : public GpuMonitor {
 public:
  explicit ScriptedMonitor(GpuReading reading, std::shared_ptr<base::Notification> released = nullptr)
      : reading_(std::move(reading)), released_(std::move(released)) {}

  GpuReading Read() override {
    if (released_ != nullptr) released_->WaitFor(absl::InfiniteDuration());
    return reading_;
  }

 private:
  const GpuReading reading_;
  const std::shared_ptr<base::Notification> released_;
};

TEST(GpuWatchTest, TellsOfEachCriticalErrorAndCountsThem) {
  GpuReading reading;
  reading.mps_clients = 4;
  reading.xids = {31, 79};
  std::vector<uint64_t> told;
  const GpuWatch watch(std::make_unique<ScriptedMonitor>(reading), absl::Hours(1),
                       [&](uint64_t xid) { told.push_back(xid); });
  EXPECT_EQ(watch.Latest().xid_errors, 2u);
  EXPECT_EQ(watch.Latest().reading.mps_clients, 4);
  EXPECT_THAT(told, ElementsAre(31u, 79u));
}

TEST(GpuWatchTest, ADriverThatNeverAnswersHoldsNobodyUp) {
  const auto released = std::make_shared<base::Notification>();
  {
    const GpuWatch watch(std::make_unique<ScriptedMonitor>(GpuReading(), released), absl::Hours(1), [](uint64_t) {});
    EXPECT_FALSE(watch.Latest().reading.processes.has_value());
  }  // returns although the monitor has not
  released->Notify();
}

TEST(GpuMetricsTest, AScrapeShowsWhatTheDriverTells) {
  GpuReading reading;
  reading.utilization_ratio = 0.5;
  reading.memory_used_bytes = 600;
  reading.xids = {31};
  base::MetricRegistry registry;
  const GpuMetrics metrics("0000:65:00.0", std::make_unique<ScriptedMonitor>(reading), &registry);
  const std::string text = registry.Expose();
  EXPECT_THAT(text, HasSubstr("hadal_gpu_utilization_ratio{gpu=\"0000:65:00.0\"} 0.5\n"));
  EXPECT_THAT(text, HasSubstr("hadal_gpu_memory_used_bytes{gpu=\"0000:65:00.0\"} 600\n"));
  EXPECT_THAT(text, HasSubstr("hadal_gpu_xid_errors_total{gpu=\"0000:65:00.0\"} 1\n"));
  EXPECT_THAT(text, Not(HasSubstr("hadal_gpu_sm_clock_hertz{")));  // not told, and not 0
}

TEST(GpuMetricsTest, WithoutAGpuThereAreNone) {
  base::MetricRegistry registry;
  EXPECT_EQ(GpuMetrics::Create("", &registry), nullptr);
  EXPECT_EQ(GpuMetrics::Create("0000:00:00.0", &registry), nullptr);  // no such place
  EXPECT_THAT(registry.Expose(), Not(HasSubstr("hadal_gpu_")));
}

}  // namespace
}  // namespace hadal::commands
