// SPDX-License-Identifier: Apache-2.0
#include "server/trace/otlp_exporter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace hadal::trace {
namespace {

// A collector that does as it is told, one answer after the other; the last one stays. Thread-safe.
class FakeCollector {
 public:
  explicit FakeCollector(std::vector<absl::StatusOr<int64_t>> answers) : answers_(std::move(answers)) {}

  absl::StatusOr<int64_t> Take(const std::vector<base::Span>& spans, absl::Duration timeout) {
    base::MutexLock lock(&mutex_);
    batches_.push_back(spans.size());
    last_timeout_ = timeout;
    changed_.NotifyAll();
    while (held_) changed_.Wait(&mutex_);
    return answers_[std::min(batches_.size(), answers_.size()) - 1];
  }
  void Hold(bool held) {
    base::MutexLock lock(&mutex_);
    held_ = held;
    changed_.NotifyAll();
  }
  std::vector<size_t> WaitForBatches(size_t count) {
    base::MutexLock lock(&mutex_);
    while (batches_.size() < count) changed_.Wait(&mutex_);
    return batches_;
  }
  std::vector<size_t> batches() { return WaitForBatches(0); }
  absl::Duration last_timeout() {
    base::MutexLock lock(&mutex_);
    return last_timeout_;
  }

 private:
  const std::vector<absl::StatusOr<int64_t>> answers_;
  base::Mutex mutex_;
  base::CondVar changed_;
  std::vector<size_t> batches_ ABSL_GUARDED_BY(mutex_);
  absl::Duration last_timeout_ ABSL_GUARDED_BY(mutex_);
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
};

class FakeClient : public SpanClient {
 public:
  explicit FakeClient(FakeCollector* collector) : collector_(collector) {}
  const std::string& name() const override { return name_; }
  absl::StatusOr<int64_t> Send(const std::vector<base::Span>& spans, absl::Duration timeout) override {
    return collector_->Take(spans, timeout);
  }
  void Cancel() override { collector_->Hold(false); }

 private:
  const std::string name_ = "the fake";
  FakeCollector* const collector_;
};

OtlpExporter::Options Quick() {
  return {.max_spans = 8, .batch_spans = 4, .delay = absl::Milliseconds(1), .backoff = absl::Milliseconds(1)};
}

struct Fixture {
  explicit Fixture(std::vector<absl::StatusOr<int64_t>> answers, const OtlpExporter::Options& options = Quick())
      : collector(std::move(answers)),
        exporter(std::make_unique<OtlpExporter>(std::make_unique<FakeClient>(&collector), &metrics, options)) {}
  uint64_t Count(TraceMetrics::Outcome outcome) { return metrics.spans.At(outcome).Value(); }

  TraceMetrics metrics{nullptr};
  FakeCollector collector;
  std::unique_ptr<OtlpExporter> exporter;
};

TEST(OtlpExporterTest, AFullBatchGoesAtOnceAndTheRestAtTheEnd) {
  OtlpExporter::Options options = Quick();
  options.delay = absl::Hours(1);
  Fixture f({0}, options);
  f.exporter->Take(std::vector<base::Span>(4));
  EXPECT_EQ(f.collector.WaitForBatches(1), std::vector<size_t>{4});
  f.exporter->Take(std::vector<base::Span>(3));
  f.exporter.reset();
  EXPECT_EQ(f.collector.batches(), (std::vector<size_t>{4, 3}));
  EXPECT_EQ(f.Count(TraceMetrics::kExported), 7u);
}

TEST(OtlpExporterTest, AFewSpansWaitNoLongerThanTheDelay) {
  Fixture f({0});
  f.exporter->Take(std::vector<base::Span>(1));
  EXPECT_EQ(f.collector.WaitForBatches(1), std::vector<size_t>{1});
}

TEST(OtlpExporterTest, ASlowCollectorCostsSpansAndHoldsUpNobody) {
  Fixture f({0});
  f.collector.Hold(true);
  f.exporter->Take(std::vector<base::Span>(4));
  f.collector.WaitForBatches(1);
  f.exporter->Take(std::vector<base::Span>(6));
  f.exporter->Take(std::vector<base::Span>(5));
  EXPECT_EQ(f.Count(TraceMetrics::kDropped), 3u) << "8 may wait";
  f.collector.Hold(false);
  f.exporter.reset();
  EXPECT_EQ(f.Count(TraceMetrics::kExported), 12u);
  EXPECT_EQ(f.Count(TraceMetrics::kFailed), 0u);
}

TEST(OtlpExporterTest, ACollectorThatComesBackGetsTheBatch) {
  Fixture f({absl::UnavailableError("away"), absl::DeadlineExceededError("slow"), 0});
  f.exporter->Take(std::vector<base::Span>(2));
  EXPECT_EQ(f.collector.WaitForBatches(3), (std::vector<size_t>{2, 2, 2}));
  f.exporter.reset();
  EXPECT_EQ(f.Count(TraceMetrics::kExported), 2u);
}

TEST(OtlpExporterTest, ABatchIsTriedSomeTimesOnly) {
  Fixture f({absl::UnavailableError("away")});
  f.exporter->Take(std::vector<base::Span>(2));
  f.collector.WaitForBatches(4);
  f.exporter->Take(std::vector<base::Span>(3));
  EXPECT_EQ(f.collector.WaitForBatches(5).back(), 3u);
  f.exporter.reset();
  EXPECT_EQ(f.Count(TraceMetrics::kFailed), 5u);
}

TEST(OtlpExporterTest, WhatTheCollectorRefusesIsNotTriedAgain) {
  Fixture f({absl::InvalidArgumentError("no"), 1});
  f.exporter->Take(std::vector<base::Span>(2));
  f.collector.WaitForBatches(1);
  f.exporter->Take(std::vector<base::Span>(4));
  f.collector.WaitForBatches(2);
  f.exporter.reset();
  EXPECT_EQ(f.collector.batches(), (std::vector<size_t>{2, 4}));
  EXPECT_EQ(f.Count(TraceMetrics::kFailed), 3u) << "all of the first, one of the second";
  EXPECT_EQ(f.Count(TraceMetrics::kExported), 3u);
}

TEST(OtlpExporterTest, TheEndWaitsForNoBackoff) {
  OtlpExporter::Options options = Quick();
  options.backoff = absl::Hours(1);
  Fixture f({absl::UnavailableError("away")}, options);
  f.exporter->Take(std::vector<base::Span>(2));
  f.collector.WaitForBatches(1);
  f.exporter->Take(std::vector<base::Span>(2));
  f.exporter.reset();
  EXPECT_LE(f.collector.last_timeout(), options.last_time);
  EXPECT_EQ(f.Count(TraceMetrics::kFailed), 4u);
}

TEST(OtlpExporterTest, TheLastBatchHasTheTimeOfAnyOther) {
  OtlpExporter::Options options;
  options.delay = absl::Hours(1);
  Fixture f({1}, options);
  f.exporter->Take(std::vector<base::Span>(2));
  f.exporter.reset();
  EXPECT_EQ(f.Count(TraceMetrics::kExported), 1u);
  EXPECT_GT(f.collector.last_timeout(), options.timeout - absl::Seconds(2)) << "a second is short over a slow network";
}

TEST(OtlpExporterTest, TheEndCancelsWhatHangs) {
  OtlpExporter::Options options = Quick();
  options.last_time = absl::Milliseconds(10);
  Fixture f({absl::CancelledError("cancelled")}, options);
  f.collector.Hold(true);
  f.exporter->Take(std::vector<base::Span>(2));
  f.collector.WaitForBatches(1);
  f.exporter.reset();
  EXPECT_EQ(f.Count(TraceMetrics::kFailed), 2u);
}

}  // namespace
}  // namespace hadal::trace
