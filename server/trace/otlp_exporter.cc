// SPDX-License-Identifier: Apache-2.0
#include "server/trace/otlp_exporter.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/base/log.h"

namespace hadal::trace {
namespace {

// What the protocol calls retryable.
bool MayBeRetried(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDataLoss:
      return true;
    default:
      return false;
  }
}

}  // namespace

OtlpExporter::OtlpExporter(std::unique_ptr<SpanClient> client, TraceMetrics* metrics, const Options& options)
    : client_(std::move(client)), options_(options), metrics_(metrics), thread_([this] { Run(); }) {}

OtlpExporter::~OtlpExporter() {
  {
    base::MutexLock lock(&mutex_);
    closed_ = true;
    give_up_ = absl::Now() + options_.last_time;
    changed_.NotifyAll();
    while (!done_ && absl::Now() < give_up_) changed_.WaitFor(&mutex_, give_up_ - absl::Now());
  }
  client_->Cancel();
  thread_.join();
}

void OtlpExporter::Take(std::vector<base::Span> spans) {
  size_t taken = 0;
  {
    base::MutexLock lock(&mutex_);
    if (!closed_) taken = std::min(spans.size(), options_.max_spans - std::min(queue_.size(), options_.max_spans));
    std::move(spans.begin(), spans.begin() + static_cast<ptrdiff_t>(taken), std::back_inserter(queue_));
    if (queue_.size() == taken || queue_.size() >= options_.batch_spans) changed_.NotifyAll();
  }
  if (taken < spans.size()) metrics_->spans.At(TraceMetrics::kDropped).Increment(spans.size() - taken);
}

void OtlpExporter::Run() {
  while (true) {
    std::vector<base::Span> batch = NextBatch();
    if (batch.empty()) break;
    Send(std::move(batch));
  }
  base::MutexLock lock(&mutex_);
  done_ = true;
  changed_.NotifyAll();
}

std::vector<base::Span> OtlpExporter::NextBatch() {
  base::MutexLock lock(&mutex_);
  while (queue_.empty() && !closed_) changed_.Wait(&mutex_);
  const absl::Time full_by = absl::Now() + options_.delay;
  while (queue_.size() < options_.batch_spans && !closed_ && absl::Now() < full_by) {
    changed_.WaitFor(&mutex_, full_by - absl::Now());
  }
  const auto end = queue_.begin() + static_cast<ptrdiff_t>(std::min(queue_.size(), options_.batch_spans));
  std::vector<base::Span> batch(std::move_iterator(queue_.begin()), std::move_iterator(end));
  queue_.erase(queue_.begin(), end);
  return batch;
}

void OtlpExporter::Send(std::vector<base::Span> batch) {
  absl::StatusOr<int64_t> rejected = absl::UnavailableError("the server ends");
  for (int attempt = 1; attempt <= options_.attempts; ++attempt) {
    const absl::Duration timeout = TimeLeft();
    if (timeout <= absl::ZeroDuration()) break;
    rejected = client_->Send(batch, timeout);
    Report(rejected.status());
    if (rejected.ok() || !MayBeRetried(rejected.status())) break;
    if (attempt < options_.attempts && !WaitBeforeRetry(attempt)) break;
  }
  const auto count = static_cast<int64_t>(batch.size());
  const int64_t failed = rejected.ok() ? std::clamp<int64_t>(*rejected, 0, count) : count;
  metrics_->spans.At(TraceMetrics::kExported).Increment(static_cast<uint64_t>(count - failed));
  metrics_->spans.At(TraceMetrics::kFailed).Increment(static_cast<uint64_t>(failed));
}

absl::Duration OtlpExporter::TimeLeft() {
  base::MutexLock lock(&mutex_);
  return std::min(options_.timeout, give_up_ - absl::Now());
}

bool OtlpExporter::WaitBeforeRetry(int attempt) {
  base::MutexLock lock(&mutex_);
  const absl::Time end = absl::Now() + options_.backoff * (1 << (attempt - 1));
  while (!closed_ && absl::Now() < end) changed_.WaitFor(&mutex_, end - absl::Now());
  return !closed_;
}

void OtlpExporter::Report(const absl::Status& status) {
  if (failing_ == !status.ok()) return;
  failing_ = !status.ok();
  if (failing_) {
    base::Log(base::LogLevel::kWarn, "trace",
              absl::StrCat(client_->name(), " takes no spans: ", status.message(), "; they are dropped meanwhile"));
  } else {
    base::Log(base::LogLevel::kInfo, "trace", absl::StrCat(client_->name(), " takes spans again"));
  }
}

}  // namespace hadal::trace
