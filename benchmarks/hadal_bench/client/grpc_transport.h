// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "benchmarks/hadal_bench/client/attempt.h"
#include "benchmarks/hadal_bench/client/call_additions.h"
#include "benchmarks/hadal_bench/client/openai_codec.h"
#include "benchmarks/hadal_bench/client/target.h"

namespace hadal::bench {

struct GrpcTransportOptions {
  Target target;
  OpenAiApi api = OpenAiApi::kChat;  // chat calls Chat, completions calls Generate
  std::string model;
  std::vector<HeaderField> headers;  // metadata of each call, besides our own
  int channels = 8;  // each with a connection of its own; gRPC queues calls beyond a connection's stream limit
};

// Streamed calls of hadal.v1.Inference. gRPC's own retries are off, so that the client model sees every attempt. gRPC's
// threads hand what they read to the thread of `io`. FailedPrecondition when the target's ca_file cannot be read.
absl::StatusOr<std::unique_ptr<Transport>> MakeGrpcTransport(boost::asio::io_context* io, GrpcTransportOptions options);

// The first model that the server lists; Unavailable when nothing answers.
absl::StatusOr<std::string> GrpcFirstModel(const Target& target, const std::string& api_key,
                                           const std::vector<HeaderField>& headers, double timeout_s);

}  // namespace hadal::bench
