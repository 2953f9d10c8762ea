// SPDX-License-Identifier: Apache-2.0
//
// NVIDIA's Multi-Process Service as `--mps` wants it. CUDA falls back silently: without a daemon at the pipe directory
// it runs alone, without the limits that the operator set. So the daemon is looked for before CUDA starts, and the
// device is asked afterwards.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "models/model.h"
#include "server/commands/model_options.h"

namespace hadal::commands {

// What the process sees of MPS before CUDA starts. A test has a fake.
class MpsProbe {
 public:
  virtual ~MpsProbe() = default;
  // Empty when it is not set.
  virtual std::string Environment(const std::string& name) const = 0;
  virtual void SetEnvironment(const std::string& name, const std::string& value) = 0;
  // True when the UNIX socket accepts a connection.
  virtual bool Accepts(const std::string& socket) const = 0;

  // The machine itself. Before other threads run, for it changes the environment.
  static MpsProbe& System();
};

struct MpsState {
  bool used = false;               // a daemon answers, and CUDA will use it
  std::string where;               // the daemon's pipe directory, or why there is none
  int64_t memory_limit_bytes = 0;  // CUDA_MPS_PINNED_DEVICE_MEM_LIMIT for the device; 0: none
  double active_thread_ratio = 1;  // CUDA_MPS_ACTIVE_THREAD_PERCENTAGE: a ceiling on the share of the multiprocessors
  bool below_normal = false;       // CUDA_MPS_CLIENT_PRIORITY: others' work comes first
  std::vector<std::string> warnings;

  // For the log: "MPS: daemon at /tmp/nvidia-mps, memory limit 6442450944 bytes".
  std::string ToString() const;
};

// Before CUDA starts. The device is that of --device; the CPU has no MPS. With kOff CUDA is kept from the daemon, and
// the priority is told to CUDA by the environment. Errors are MpsError: a daemon that is required and does not answer,
// a limit that cannot be read.
absl::StatusOr<MpsState> PrepareMps(const ModelOptions& options, MpsProbe& probe);

// When a model is loaded on the device: what was required must be so. Errors as above.
absl::Status CheckMps(MpsMode mode, const MpsState& state, const models::DeviceFacts& facts);

// Calls `open` until it says something else than Unavailable, which it does while the MPS server waits for the clients
// that a fault has hit to end. After each attempt `wait` is given a delay, from one second on and twice as long each
// time; false: give up. After half a minute the error is an MpsError; a restarted process tries again.
absl::Status OpenWhenMpsIsReady(absl::FunctionRef<absl::Status()> open,
                                absl::FunctionRef<bool(absl::Duration delay, const absl::Status& reason)> wait);

// True for the errors of this file: the process ends with an exit code of their own.
bool IsMpsError(const absl::Status& status);
inline constexpr int kMpsExitCode = 5;

}  // namespace hadal::commands
