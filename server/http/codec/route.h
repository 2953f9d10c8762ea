// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/http/codec/api.h"

namespace hadal::http {

enum class Route {
  kChat,             // POST /v1/chat/completions
  kSimpleChat,       // POST /v1/chat: the same, and {"prompt": "..."}
  kCompletions,      // POST /v1/completions
  kMessages,         // POST /v1/messages
  kResponses,        // POST /v1/responses
  kCountTokens,      // POST /v1/messages/count_tokens
  kInputTokens,      // POST /v1/responses/input_tokens
  kControl,          // POST /v1/chat/completions/{id}/control, /v1/chat/completions/control
  kOllamaChat,       // POST /api/chat
  kOllamaGenerate,   // POST /api/generate
  kOllamaShow,       // POST /api/show
  kOllamaTags,       // GET /api/tags
  kOllamaPs,         // GET /api/ps
  kOllamaVersion,    // GET /api/version
  kRenderChat,       // POST /v1/chat/completions/render
  kRenderPlain,      // POST /v1/completions/render
  kRenderMessages,   // POST /v1/messages/render
  kRenderResponses,  // POST /v1/responses/render
  kUploadFile,       // POST /v1/files
  kFiles,            // GET /v1/files
  kFile,             // GET /v1/files/{id}
  kDeleteFile,       // DELETE /v1/files/{id}
  kFileContent,      // GET /v1/files/{id}/content
  kCreateBatch,      // POST /v1/batches
  kBatches,          // GET /v1/batches
  kBatch,            // GET /v1/batches/{id}
  kCancelBatch,      // POST /v1/batches/{id}/cancel
  kModels,           // GET /v1/models
  kModel,            // GET /v1/models/{id}
  kTokenize,         // POST /tokenize
  kDetokenize,       // POST /detokenize
  kMetrics,          // GET /metrics
  kHealthLive,       // GET /health/live
  kHealthReady,      // GET /health/ready, /health
  kHealthStartup,    // GET /health/startup
  kVersion,          // GET /version
  kPage,             // GET /, /page/{file}
};

struct RouteMatch {
  Route route = Route::kVersion;
  std::string_view name;  // fixed name for metrics and logs; never what the client wrote
  std::string parameter;  // decoded {id}, or {file}; empty where the path has none
};

// Looks a request up. API routes also match without /v1 and below /beta and /anthropic, because clients append paths
// freely. A HEAD request matches where GET does. ROUTE_NOT_FOUND (404), METHOD_NOT_ALLOWED (405) with `allow` set to
// the header's value, or UNSUPPORTED (501) for what other servers offer besides text.
absl::StatusOr<RouteMatch> FindRoute(std::string_view method, std::string_view target, std::string* allow);

// Whether a request sends a file (kUploadFile), whose body is not kept whole and has a limit of its own.
bool IsUpload(std::string_view method, std::string_view target);

// The API that a target belongs to, whether or not a route is there.
Api ApiOf(std::string_view target);

// Name under which requests without a route are counted.
inline constexpr std::string_view kUnknownRoute = "unknown";

}  // namespace hadal::http
