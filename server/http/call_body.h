// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/http/common_codec.h"
#include "server/http/route.h"
#include "server/service/call_pipeline.h"

namespace hadal::http {

// How the response to a body's calls is encoded.
struct ResponsePlan {
  bool chat = false;
  ResponseOptions options;
  std::string model;              // as the caller named it; may be empty
  bool logprobs = false;          // completions
  std::vector<std::string> echo;  // completions that give the prompt back: each prompt as text
};

struct CallBody {
  service::DecodedRequest request;
  ResponsePlan plan;
};

// Decodes the body of a generating route: one call for chat, one for each prompt of plain completions. For worker
// threads. `priority_from_header`: service_tier does not count. `service` turns echoed token ids into text.
absl::StatusOr<CallBody> DecodeCallBody(std::string_view body, Route route, int max_json_depth,
                                        bool priority_from_header, const service::GenerateService& service);

}  // namespace hadal::http
