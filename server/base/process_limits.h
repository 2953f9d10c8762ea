// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace hadal::base {

// The most threads and descriptors that the system grants a process, looked at before anything depends on them:
// libraries that get none abort, or wait for ever for a thread that never was.

// The limits that a new thread may run into and their values, as in "ulimit -v is 300000 KiB, the cgroup's pids.max is
// 64". Names only those that are set.
std::string ThreadLimits();

// Starts `needed` threads at the same time, and ends them. ResourceExhausted, with the limits, if one cannot be
// started.
absl::Status CheckThreads(int needed);

// Raises the soft limit of file descriptors (ulimit -n) to `needed`, as far as the hard limit allows, and returns the
// resulting limit. Internal if it cannot be read.
absl::StatusOr<int64_t> RaiseDescriptorLimit(int64_t needed);

// Raises the limit likewise. ResourceExhausted with both numbers when it stays below what is needed.
absl::Status CheckDescriptors(int64_t needed);

// From now on an uncaught failure to start a thread or to allocate memory ends the process with exit code 1 and a line
// on standard error that names the limits. Other uncaught exceptions abort as before.
void ExitWhenExhausted();

}  // namespace hadal::base
