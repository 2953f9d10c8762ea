// SPDX-License-Identifier: Apache-2.0
#include "server/service/load_report.h"

#include <gtest/gtest.h>

#include "absl/strings/escaping.h"

namespace hadal::service {
namespace {

Load Half() {
  Load load;
  load.requests_running = 3;
  load.requests_waiting = 64;
  load.queue_limit_requests = 512;
  load.sequences_running = 4;
  load.sequences_limit = 8;
  load.kv_cache_usage_ratio = 0.25;
  load.memory_budget_bytes = 1000;
  load.memory_committed_bytes = 750;
  load.ready = true;
  return load;
}

TEST(LoadReportTest, UtilizationIsTheScarcerOfPlacesAndBlocksAndTheQueueOnTop) {
  Load load = Half();
  EXPECT_DOUBLE_EQ(MakeLoadReport(load, 0, 0).application_utilization, 0.5 + 0.125);
  load.kv_cache_usage_ratio = 0.75;
  EXPECT_DOUBLE_EQ(MakeLoadReport(load, 0, 0).application_utilization, 0.75 + 0.125);
  load.requests_waiting = 512;
  EXPECT_DOUBLE_EQ(MakeLoadReport(load, 0, 0).application_utilization, 1.75);
  EXPECT_DOUBLE_EQ(MakeLoadReport(load, 0, 0).mem_utilization, 0.75);
}

TEST(LoadReportTest, AnIdleServerIsNotZeroAndOneThatTakesNothingIsFull) {
  Load load = Half();
  load.sequences_running = load.requests_waiting = 0;
  load.kv_cache_usage_ratio = 0;
  EXPECT_DOUBLE_EQ(MakeLoadReport(load, 0, 0).application_utilization, 0.125);
  load.ready = false;
  EXPECT_DOUBLE_EQ(MakeLoadReport(load, 0, 0).application_utilization, 1);
  EXPECT_DOUBLE_EQ(MakeLoadReport(Load(), 0, 0).application_utilization, 1);
  const std::pair<std::string_view, double> not_ready = {"not_ready", 1};
  EXPECT_EQ(MakeLoadReport(load, 0, 0).named_metrics.back(), not_ready) << "a full one looks the same otherwise";
  load.ready = true;
  EXPECT_NE(MakeLoadReport(load, 0, 0).named_metrics.back(), not_ready);
}

TEST(LoadReportTest, FormatsAreKnownInAnyCase) {
  EXPECT_EQ(ParseLoadReportFormat("TEXT"), LoadReportFormat::kText);
  EXPECT_EQ(ParseLoadReportFormat("json"), LoadReportFormat::kJson);
  EXPECT_EQ(ParseLoadReportFormat("Bin"), LoadReportFormat::kBinary);
  for (const char* name : {"", "xml", "text ", "TEXTS"}) EXPECT_FALSE(ParseLoadReportFormat(name).has_value()) << name;
}

TEST(LoadReportTest, TextAndJsonReadAsEnvoyAndVllmWriteThem) {
  const LoadReport report = MakeLoadReport(Half(), 12.5, 0.5);
  EXPECT_EQ(FormatLoadReport(report, LoadReportFormat::kText),
            "TEXT mem_utilization=0.75, rps_fractional=12.5, eps=0.5, application_utilization=0.625, "
            "named_metrics.kv_cache_usage_perc=0.25, named_metrics.kv_cache_utilization=0.25, "
            "named_metrics.num_requests_running=3, named_metrics.num_requests_waiting=64");
  EXPECT_EQ(FormatLoadReport(report, LoadReportFormat::kJson),
            R"(JSON {"mem_utilization": 0.75, "rps_fractional": 12.5, "eps": 0.5, "application_utilization": 0.625, )"
            R"("named_metrics": {"kv_cache_usage_perc": 0.25, "kv_cache_utilization": 0.25, )"
            R"("num_requests_running": 3, "num_requests_waiting": 64}})");
}

TEST(LoadReportTest, BinaryIsTheMessageThatGrpcLibrariesSend) {
  LoadReport report;
  report.rps_fractional = 100;
  report.eps = 2;
  report.named_metrics = {{"rif", 4}};
  // What a backend of grpc-go sent, without the cpu_utilization at its front.
  std::string golden;
  ASSERT_TRUE(absl::Base64Unescape("CQAAAAAAAOA/MQAAAAAAAFlAOQAAAAAAAABAQg4KA3JpZhEAAAAAAAAQQA==", &golden));
  EXPECT_EQ(SerializeLoadReport(report), golden.substr(9));
  EXPECT_EQ(FormatLoadReport(report, LoadReportFormat::kBinary), "BIN " + absl::Base64Escape(golden.substr(9)));
  report.application_utilization = 0.5;
  const std::string bytes = SerializeLoadReport(report);
  EXPECT_NE(bytes.find(std::string("\x49\0\0\0\0\0\0\xe0\x3f", 9)), std::string::npos);
}

}  // namespace
}  // namespace hadal::service
