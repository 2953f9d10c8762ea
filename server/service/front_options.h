// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/base/flag_set.h"
#include "server/request/stream_options.h"

namespace hadal::service {

// What both fronts share.
struct FrontOptions {
  std::string host = "127.0.0.1";        // address to listen on
  int64_t max_body_bytes = 16 << 20;     // of a request; HTTP answers 413, gRPC RESOURCE_EXHAUSTED
  int64_t max_body_bytes_in_flight = 0;  // of all requests together; 0: 16 times max_body_bytes
  bool parse_special_tokens = true;      // control tokens written in plain prompts; a request can say otherwise
  request::StreamOptions stream;

  // The limit that 0 stands for, too.
  int64_t BodyBytesInFlight() const {
    return max_body_bytes_in_flight > 0 ? max_body_bytes_in_flight : 16 * max_body_bytes;
  }

  // Only this machine can reach it.
  bool OnLoopback() const { return host == "localhost" || host == "::1" || host.starts_with("127."); }

  // InvalidArgument names the flags that do not go together.
  absl::Status Validate() const {
    // One sender may take half of the memory for bodies (BodyBudget): the largest body must fit in there.
    if (max_body_bytes < 1 || max_body_bytes > BodyBytesInFlight() / 2) {
      return absl::InvalidArgumentError(absl::StrCat("--max-body-bytes-in-flight is ", BodyBytesInFlight(),
                                                     " and --max-body is ", max_body_bytes,
                                                     "; it must be at least twice --max-body, which must be above 0"));
    }
    return absl::OkStatus();
  }

  void AddFlags(base::FlagSet* flags) {
    flags->AddText("host", &host, "address to listen on");
    flags->AddBool("parse-special-tokens", &parse_special_tokens,
                   "take control tokens written in a plain prompt as control tokens, where the request does not say");
    flags->AddBytes("max-body", &max_body_bytes, "maximum size of a request body");
    flags->AddBytes("max-body-bytes-in-flight", &max_body_bytes_in_flight,
                    "memory for request bodies that are arriving or wait to be parsed", "16 times --max-body");
  }
};

}  // namespace hadal::service
