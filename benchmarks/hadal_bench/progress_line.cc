// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/progress_line.h"

#include <cstdio>

#include "absl/strings/str_format.h"

namespace hadal::bench {

void ProgressLine::Show(const RunProgress& progress) {
  const bool drains = progress.now_s > progress.duration_s;  // nothing new is sent: what is open may end
  std::string line = absl::StrFormat("%3.0f/%.0f s%s  sent %d  served %d  refused %d  failed %d  open %d",
                                     progress.now_s, progress.duration_s, drains ? " drain" : "", progress.sent,
                                     progress.served, progress.refused_attempts, progress.failed, progress.open);
  if (progress.waiting_to_retry > 0) absl::StrAppendFormat(&line, "  to return %d", progress.waiting_to_retry);
  absl::StrAppendFormat(&line, "  lag p99 %.1f ms", progress.lag_p99_s * 1000);
  std::fprintf(stderr, terminal_ ? "\r\033[K%s" : "%s\n", line.c_str());
  std::fflush(stderr);
  shown_ = true;
}

ProgressLine::~ProgressLine() {
  if (shown_ && terminal_) std::fputs("\r\033[K", stderr);
}

}  // namespace hadal::bench
