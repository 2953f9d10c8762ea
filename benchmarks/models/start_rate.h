// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "benchmarks/models/device_rates.h"

namespace hadal::models {

struct StartOptions {
  std::string folder;                      // where the checkpoint is written; its files stay
  int64_t most_bytes = int64_t{16} << 30;  // of it: the last layers are left out
  bool cold = false;                       // from the disk; else from the page cache
};

// From files to the first token, in a process that has not met the device yet: writes a checkpoint of the dimensions of
// `dir`, reads its files as fast as that goes, then loads, warms up and runs one token; last, what an upload from host
// memory reaches. {"model": ..., "measure": "load", "seconds": ..., "share": ...}: the share is of the slower of
// reading and, on a device with memory of its own, uploading, both measured here. Without warm-up on such a device,
// since that moves no weights. Errors are WriteDummyCheckpoint's and LoadModel's.
absl::Status MeasureStart(const std::string& dir, const RateOptions& options, const StartOptions& start,
                          const RateSink& sink);

}  // namespace hadal::models
