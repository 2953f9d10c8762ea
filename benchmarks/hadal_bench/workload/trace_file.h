// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace hadal::bench {

// One request of a recorded trace.
struct TraceEntry {
  double at_s = 0;  // from the first entry
  int prompt_tokens = 0;
  int output_tokens = 0;
  // Mooncake: ids of the prompt's blocks of 512 tokens; equal leading ids are a shared prefix. Else empty.
  std::vector<uint64_t> prefix_blocks;
};

// Reads a trace, sorted by time. The published formats, told apart by their lines:
//   Azure CSV       TIMESTAMP,ContextTokens,GeneratedTokens    2023-11-16 18:15:46.6805900,374,44
//   BurstGPT CSV    Timestamp,Model,Request tokens,Response tokens,...    5,ChatGPT,472,18,...    (seconds)
//   Mooncake JSONL  {"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46]}   (milliseconds)
// The columns of a CSV file are found by the names in its first line; JSON lines may have these names, too, and then a
// time in seconds or a date.
// NotFound for a missing file; InvalidArgument names the line that cannot be read.
absl::StatusOr<std::vector<TraceEntry>> ReadTrace(const std::string& path);
// The same from the text of a file; `name` is for messages.
absl::StatusOr<std::vector<TraceEntry>> ParseTrace(std::string_view text, std::string_view name);

}  // namespace hadal::bench
