// SPDX-License-Identifier: Apache-2.0
#include "server/commands/load_progress.h"

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "server/base/clock.h"
#include "server/base/log.h"

namespace hadal::commands {
namespace {

constexpr int kBarCells = 30;

}  // namespace

LoadProgress::LoadProgress(base::MetricRegistry* metrics, bool terminal)
    : ratio_(metrics, {"hadal_model_load_progress_ratio", "Share of the load that is done."}), terminal_(terminal) {}

void LoadProgress::Begin(const std::string& model, int index, int count) {
  model_ = model;
  index_ = index;
  count_ = std::max(count, 1);
  done_ = total_ = 0;
  if (index == 0) started_ = base::Clock::Real()->Now();
  last_shown_ = base::Clock::Real()->Now();
}

void LoadProgress::Update(int64_t bytes_done, int64_t bytes_total) {
  done_ = bytes_done;
  total_ = bytes_total;
  const double share = total_ > 0 ? static_cast<double>(done_) / static_cast<double>(total_) : 0;
  const double progress = (index_ + share) / count_;
  progress_.store(progress, std::memory_order_relaxed);
  ratio_.Get().Set(progress);
  const absl::Duration elapsed = base::Clock::Real()->Now() - started_;
  if (progress > 0.01) {
    remaining_ms_.store(absl::ToInt64Milliseconds(elapsed * ((1 - progress) / progress)), std::memory_order_relaxed);
  }
  Show();
}

void LoadProgress::End() {
  progress_.store(1, std::memory_order_relaxed);
  remaining_ms_.store(0, std::memory_order_relaxed);
  ratio_.Get().Set(1);
  // The bar is erased: what is left on the terminal is the log line that says how long it took.
  if (terminal_) std::fputs("\r\033[K", stderr);
}

absl::Duration LoadProgress::Remaining() const {
  return absl::Milliseconds(remaining_ms_.load(std::memory_order_relaxed));
}

void LoadProgress::Show() {
  const absl::Time now = base::Clock::Real()->Now();
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
