// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/http/codec/response_encoder.h"
#include "server/http/codec/route.h"
#include "server/service/call_pipeline.h"

namespace hadal::http {

// Of the ids of responses, by API.
inline constexpr std::string_view kChatIdPrefix = "chatcmpl-";
inline constexpr std::string_view kCompletionIdPrefix = "cmpl-";
inline constexpr std::string_view kMessagesIdPrefix = "msg_";
inline constexpr std::string_view kResponsesIdPrefix = "resp_";
inline constexpr std::array kResponseIdPrefixes = {kChatIdPrefix, kCompletionIdPrefix, kMessagesIdPrefix,
                                                   kResponsesIdPrefix};

// How the response to a body's calls is encoded.
struct ResponsePlan {
  bool stream = false;
  std::string model;           // as the caller named it; may be empty
  std::string_view id_prefix;  // of the response's id
  // Once the calls run.
  std::function<std::unique_ptr<ResponseEncoder>(const ResponseHead& head, const Calls& calls)> make_encoder;
};

struct CallBody {
  service::DecodedRequest request;
  ResponsePlan plan;
};

// The head of the response to calls that run; id and arrival are the request's.
ResponseHead HeadOf(const ResponsePlan& plan, const Calls& calls, std::string_view id, absl::Time arrival);

// Decodes the body of a generating route with its API's decoder: one call, or one for each prompt of plain completions.
// For worker threads. `priority_from_header`: service_tier does not count. `service` turns echoed token ids into text.
absl::StatusOr<CallBody> DecodeCallBody(std::string_view body, Route route, int max_json_depth,
                                        bool priority_from_header, const service::GenerateService& service);

}  // namespace hadal::http
