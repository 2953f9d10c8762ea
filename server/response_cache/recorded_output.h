// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/request/output_reader.h"
#include "server/response_cache/output_key.h"

namespace hadal::response_cache {

// All that a request's stream carried, so that it can be carried again.
struct RecordedOutput {
  std::vector<request::TokenEvent> tokens;  // of all choices, in the order in which they came
  std::vector<request::ChoiceEnd> ends;     // one for each choice
  int32_t cached_tokens = 0;                // prompt tokens that came from the prefix cache

  // Whether the request would get the same again: every choice has ended by itself. Not one that a drain has cut.
  bool complete() const;
};

// The encoding in which outputs are stored and shared with other processes: a few bytes per token, with a version and a
// checksum over key and content, so that damaged entries, other versions and entries under a wrong key are detected. It
// protects against accidents, not against an attacker with write access to the store.
std::string EncodeOutput(const CacheKey& key, const RecordedOutput& output, absl::Time stored_at);

struct DecodedOutput {
  RecordedOutput output;
  absl::Time stored_at;  // whole seconds of wall-clock time
};
// DataLoss for bytes that EncodeOutput has not made of this key.
absl::StatusOr<DecodedOutput> DecodeOutput(const CacheKey& key, std::string_view bytes);

}  // namespace hadal::response_cache
