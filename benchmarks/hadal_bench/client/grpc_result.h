// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/grpcpp.h>

#include <map>
#include <string_view>

#include "benchmarks/hadal_bench/client/attempt.h"
#include "hadal/v1/inference.pb.h"

namespace hadal::bench {

// What a stream's messages say about its answer.
struct GrpcAnswer {
  size_t content_bytes = 0;
  hadal::v1::FinishReason finish = hadal::v1::FINISH_REASON_UNSPECIFIED;
  int prompt_tokens = -1, completion_tokens = -1, cached_tokens = -1;

  // Returns the bytes of content in `message`.
  size_t Add(const hadal::v1::GenerateResponse& message);
};

// Judges a call as the HTTP transport judges a response: served only with content and an end. A refusal is UNAVAILABLE
// or RESOURCE_EXHAUSTED with the server's own details or pushback; the same codes without them are a broken connection.
CallResult JudgeGrpcCall(const grpc::Status& status, const std::multimap<grpc::string_ref, grpc::string_ref>& trailers,
                         const GrpcAnswer& answer, std::string_view cancel_reason);

}  // namespace hadal::bench
