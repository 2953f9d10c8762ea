// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace hadal::models {

struct DummyCheckpoint {
  int64_t layers = 0, of_layers = 0;  // written, and in the configuration that was given
  int64_t bytes = 0;                  // of all weight files
  std::vector<std::string> files;     // with their folder
};

// Writes a checkpoint with the dimensions of `from`/config.json into the folder `to`, which is made: a config.json, and
// seeded bf16 values in shards of at most a GiB (more where one tensor is larger) with their index. When all would
// take more than `most_bytes`, the last layers are left out, and the written config.json says so. InvalidArgument: one
// layer takes more than that already, or a tensor is no matrix of numbers. ResourceExhausted, naming the file: the disk
// is full.
absl::StatusOr<DummyCheckpoint> WriteDummyCheckpoint(const std::string& from, const std::string& to,
                                                     int64_t most_bytes);

}  // namespace hadal::models
