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

struct HttpTransportOptions {
  Target target;
  OpenAiApi api = OpenAiApi::kChat;
  std::string model;
  CallAdditions additions;
  int max_connections = 4096;  // calls beyond it wait for a connection; what they wait counts as latency
};

// Streamed calls of the OpenAI API over HTTP/1.1: as many keep-alive connections as calls are open at once, all on the
// thread of `io`. The address is resolved once. Unavailable when the host has no address.
absl::StatusOr<std::unique_ptr<Transport>> MakeHttpTransport(boost::asio::io_context* io, HttpTransportOptions options);

// One blocking GET of a whole path, for finding the model before a run. Unavailable when nothing answers. Redirects are
// not followed: a measured server should be named by its own address.
struct HttpAnswer {
  int status = 0;
  std::string location;  // where a redirect leads
  std::string body;
};
absl::StatusOr<HttpAnswer> HttpGet(const Target& target, const std::string& path, const std::string& api_key,
                                   const std::vector<HeaderField>& headers, double timeout_s);

}  // namespace hadal::bench
