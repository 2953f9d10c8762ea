// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <string>

#include "benchmarks/hadal_bench/run/run_log.h"

namespace hadal::bench {

// The line on stderr that tells how a run goes: rewritten in place on a terminal, else a line each time. Its destructor
// leaves the cursor at the start of a clean line.
class ProgressLine {
 public:
  explicit ProgressLine(bool enabled) : enabled_(enabled), terminal_(isatty(STDERR_FILENO) == 1) {}
  ~ProgressLine();

  bool enabled() const { return enabled_; }
  void Show(const RunProgress& progress);

 private:
  const bool enabled_, terminal_;
  bool shown_ = false;
};

}  // namespace hadal::bench
