// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/resource.h>

namespace hadal::bench {

// Processor time of this process so far, all threads, user and system.
inline double ProcessCpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace hadal::bench
