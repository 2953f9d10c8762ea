// SPDX-License-Identifier: Apache-2.0
#include "server/commands/load_progress.h"

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "server/base/log.h"

namespace hadal::commands {
namespace {

constexpr int kBarCells = 30;
// Of a start, what comes after the weights, until its steps are measured. With none of it, or twice as much, what is
// told meanwhile is still right within a fifth.
constexpr double kLaterShare = 0.15;
constexpr double kLater = kLaterShare / (1 - kLaterShare);

}  // namespace

LoadProgress::LoadProgress(base::MetricRegistry* metrics, bool terminal, base::Clock* clock)
    : ratio_(metrics, {"hadal_model_load_progress_ratio", "Share of the load that is done."}),
      terminal_(terminal),
      clock_(clock) {}

void LoadProgress::Begin(const std::string& model, int index, int count) {
  model_ = model;
  index_ = index;
  count_ = std::max(count, 1);
  done_ = total_ = 0;
  if (index == 0) {
    started_ = clock_->Now();
    samples_.clear();
  }
  last_shown_ = clock_->Now();
}

void LoadProgress::Update(int64_t bytes_done, int64_t bytes_total) {
  done_ = bytes_done;
  total_ = bytes_total;
  const double share = total_ > 0 ? static_cast<double>(done_) / static_cast<double>(total_) : 0;
  const double progress = (index_ + share) / count_;
  progress_.store(progress, std::memory_order_relaxed);
  ratio_.Get().Set(progress);
  if (progress > 0.01) {
    const absl::Time now = clock_->Now();
    // The weights that are left, and what comes after them.
    const absl::Duration left = WholeTime(now, progress) * (1 - progress);
    SetRemaining(left + kLater * (now - started_ + left));
  }
  Show();
}

void LoadProgress::End() {
  progress_.store(1, std::memory_order_relaxed);
  weights_loaded_ = clock_->Now();
  SetRemaining(kLater * (weights_loaded_ - started_));
  ratio_.Get().Set(1);
  // The bar is erased: what is left on the terminal is the log line that says how long it took.
  if (terminal_) std::fputs("\r\033[K", stderr);
}

absl::Duration LoadProgress::WholeTime(absl::Time now, double progress) {
  if (samples_.empty() || progress - samples_.back().progress >= 0.01) samples_.push_back({now, progress});
  // The beginning is slower than the rest: files are opened, and nothing is in the page cache.
  const absl::Time half = started_ + (now - started_) / 2;
  const auto since = std::find_if(samples_.begin(), samples_.end(), [&](const Sample& one) { return one.at >= half; });
  if (since == samples_.end() || progress - since->progress < 0.01) return (now - started_) / progress;
  return (now - since->at) / (progress - since->progress);
}

void LoadProgress::UpdateWarmUp(double share) {
  const absl::Duration elapsed = clock_->Now() - weights_loaded_;
  if (share > 0.1) SetRemaining(elapsed * ((1 - share) / share));
}

void LoadProgress::SetRemaining(absl::Duration remaining) {
  remaining_ms_.store(absl::ToInt64Milliseconds(remaining), std::memory_order_relaxed);
}

absl::Duration LoadProgress::Remaining() const {
  return absl::Milliseconds(remaining_ms_.load(std::memory_order_relaxed));
}

void LoadProgress::Show() {
  const absl::Time now = clock_->Now();
  const absl::Duration period = terminal_ ? absl::Milliseconds(100) : absl::Seconds(1);
  if (now - last_shown_ < period) return;
  last_shown_ = now;
  const double share = total_ > 0 ? static_cast<double>(done_) / static_cast<double>(total_) : 0;
  if (terminal_) {
    std::string bar(static_cast<size_t>(share * kBarCells), '#');
    bar.resize(kBarCells, '.');
    std::fprintf(stderr, "\rloading %s [%s] %3.0f %%  %.1f of %.1f GB\033[K", model_.c_str(), bar.c_str(), share * 100,
                 static_cast<double>(done_) / 1e9, static_cast<double>(total_) / 1e9);
    return;
  }
  base::Log(base::LogLevel::kInfo, "loader", absl::StrCat("loading ", model_),
            {{"bytes_done", done_}, {"bytes_total", total_}, {"progress", progress()}});
}

}  // namespace hadal::commands
