// SPDX-License-Identifier: Apache-2.0
#include "server/http/codec/route.h"

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "server/base/nearest_name.h"
#include "server/base/percent_decode.h"
#include "server/base/strings.h"
#include "server/request/refusal.h"

namespace hadal::http {
namespace {

struct Row {
  std::string_view path;
  std::string_view method;
  Route route;
  std::string_view name;
  bool api;  // also without /v1 and below /beta and /anthropic
};

constexpr std::array kRows = {
    Row{"/chat/completions", "POST", Route::kChat, "/v1/chat/completions", true},
    Row{"/chat", "POST", Route::kSimpleChat, "/v1/chat", true},
    Row{"/completions", "POST", Route::kCompletions, "/v1/completions", true},
    Row{"/messages", "POST", Route::kMessages, "/v1/messages", true},
    Row{"/messages/count_tokens", "POST", Route::kCountTokens, "/v1/messages/count_tokens", true},
    Row{"/responses", "POST", Route::kResponses, "/v1/responses", true},
    Row{"/responses/input_tokens", "POST", Route::kInputTokens, "/v1/responses/input_tokens", true},
    Row{"/chat/completions/control", "POST", Route::kControl, "/v1/chat/completions/control", true},
    Row{"/chat/completions/render", "POST", Route::kRenderChat, "/v1/chat/completions/render", true},
    Row{"/completions/render", "POST", Route::kRenderPlain, "/v1/completions/render", true},
    Row{"/messages/render", "POST", Route::kRenderMessages, "/v1/messages/render", true},
    Row{"/responses/render", "POST", Route::kRenderResponses, "/v1/responses/render", true},
    Row{"/files", "GET", Route::kFiles, "/v1/files", true},
    Row{"/files", "POST", Route::kUploadFile, "/v1/files", true},
    Row{"/batches", "GET", Route::kBatches, "/v1/batches", true},
    Row{"/batches", "POST", Route::kCreateBatch, "/v1/batches", true},
    Row{"/api/chat", "POST", Route::kOllamaChat, "/api/chat", false},
    Row{"/api/generate", "POST", Route::kOllamaGenerate, "/api/generate", false},
    Row{"/api/show", "POST", Route::kOllamaShow, "/api/show", false},
    Row{"/api/tags", "GET", Route::kOllamaTags, "/api/tags", false},
    Row{"/api/ps", "GET", Route::kOllamaPs, "/api/ps", false},
    Row{"/api/version", "GET", Route::kOllamaVersion, "/api/version", false},
    Row{"/models", "GET", Route::kModels, "/v1/models", true},
    Row{"/tokenize", "POST", Route::kTokenize, "/tokenize", true},
    Row{"/detokenize", "POST", Route::kDetokenize, "/detokenize", true},
    Row{"/metrics", "GET", Route::kMetrics, "/metrics", false},
    Row{"/health", "GET", Route::kHealthReady, "/health", false},
    Row{"/health/live", "GET", Route::kHealthLive, "/health/live", false},
    Row{"/health/ready", "GET", Route::kHealthReady, "/health/ready", false},
    Row{"/health/startup", "GET", Route::kHealthStartup, "/health/startup", false},
    Row{"/version", "GET", Route::kVersion, "/version", false},
    Row{"/", "GET", Route::kPage, "/", false},
};
// Rows with one part of the path that names something: between `path` and `end`.
struct NamedRow {
  Row row;
  std::string_view end;  // "": the name is all that follows
};
constexpr std::array kNamedRows = {
    NamedRow{{"/page/", "GET", Route::kPage, "/page/{file}", false}, ""},
    NamedRow{{"/files/", "GET", Route::kFileContent, "/v1/files/{id}/content", true}, "/content"},
    NamedRow{{"/files/", "GET", Route::kFile, "/v1/files/{id}", true}, ""},
    NamedRow{{"/files/", "DELETE", Route::kDeleteFile, "/v1/files/{id}", true}, ""},
    NamedRow{{"/batches/", "POST", Route::kCancelBatch, "/v1/batches/{id}/cancel", true}, "/cancel"},
    NamedRow{{"/batches/", "GET", Route::kBatch, "/v1/batches/{id}", true}, ""},
    NamedRow{{"/models/", "GET", Route::kModel, "/v1/models/{id}", true}, ""},
    NamedRow{{"/chat/completions/", "POST", Route::kControl, "/v1/chat/completions/{id}/control", true}, "/control"},
};

// Routes of OpenAI's and Ollama's APIs that models of text cannot serve, or whose models come and go: the path, or all
// below it.
constexpr std::string_view kTextOnly =
    "this server generates text, at /v1/chat/completions, /v1/completions, /v1/messages and /v1/responses";
constexpr std::string_view kFixedModels = "this server has the models that it was started with";
struct NotOffered {
  std::string_view path;
  std::string_view what;
  std::string_view instead;
};
constexpr std::array kNotOffered = {
    NotOffered{"/embeddings", "embeddings are", kTextOnly},
    NotOffered{"/images", "images are", kTextOnly},
    NotOffered{"/audio", "audio is", kTextOnly},
    NotOffered{"/api/embed", "embeddings are", kTextOnly},
    NotOffered{"/api/embeddings", "embeddings are", kTextOnly},
    NotOffered{"/api/pull", "pulling models is", kFixedModels},
    NotOffered{"/api/push", "pushing models is", kFixedModels},
    NotOffered{"/api/create", "creating models is", kFixedModels},
    NotOffered{"/api/copy", "copying models is", kFixedModels},
    NotOffered{"/api/delete", "deleting models is", kFixedModels},
    NotOffered{"/api/blobs", "creating models is", kFixedModels},
};

// The name that `path` has where the row has one; empty: it does not match.
std::string_view NameIn(std::string_view path, const NamedRow& row) {
  const size_t around = row.row.path.size() + row.end.size();
  if (path.size() <= around || !path.starts_with(row.row.path) || !path.ends_with(row.end)) return {};
  return path.substr(row.row.path.size(), path.size() - around);
}

// Whether `path` is `head` or below it.
bool IsAt(std::string_view path, std::string_view head) {
  return path.starts_with(head) && (path.size() == head.size() || path[head.size()] == '/');
}

std::string_view StripPrefix(std::string_view path, std::string_view prefix) {
  if (path.substr(0, prefix.size()) == prefix && path.substr(prefix.size(), 1) == "/")
    return path.substr(prefix.size());
  return path;
}

// Without the prefixes below which API routes stand.
std::string_view ApiPath(std::string_view path) {
  return StripPrefix(StripPrefix(StripPrefix(path, "/anthropic"), "/beta"), "/v1");
}

// `path` as it is when a base URL and what is put behind it are joined rightly.
std::string WithoutDoubles(std::string_view path) {
  std::string once(path);
  while (absl::StrReplaceAll({{"//", "/"}}, &once) > 0) continue;
  while (absl::StrReplaceAll({{"/v1/v1/", "/v1/"}}, &once) > 0) continue;
  return once;
}

// Says which path was probably meant; "" when none is near.
std::string Suggestion(std::string_view method, const std::string& path) {
  const std::string once = WithoutDoubles(path);
  std::string allow;
  if (once != path && (FindRoute(method, once, &allow).ok() || !allow.empty())) {
    return absl::StrCat("; did you mean ", once, "? Look for a doubled / or /v1 in the base URL of the client");
  }
  std::vector<std::string> known;
  for (const Row& row : kRows) known.emplace_back(row.path);
  const std::string nearest = base::NearestName(ApiPath(path), known);
  if (nearest.empty()) return "";
  const auto row = std::find_if(kRows.begin(), kRows.end(), [&](const Row& one) { return one.path == nearest; });
  return absl::StrCat("; did you mean ", base::View(row->name), "?");
}

}  // namespace

absl::StatusOr<RouteMatch> FindRoute(std::string_view method, std::string_view target, std::string* allow) {
  const std::string_view full_path = target.substr(0, target.find('?'));
  std::string_view path = full_path;
  if (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  const std::string_view api_path = ApiPath(path);
  const bool plain = api_path.size() == path.size();

  std::string allowed;
  const auto matches = [&](const Row& row, RouteMatch* match) {
    if (method == row.method || (method == "HEAD" && row.method == "GET")) {
      match->route = row.route;
      match->name = row.name;
      return true;
    }
    absl::StrAppend(&allowed, row.method == "GET" ? "GET, HEAD" : base::View(row.method), ", ");
    return false;
  };
  RouteMatch match;
  for (const Row& row : kRows) {
    if (row.path == api_path && (row.api || plain) && matches(row, &match)) return match;
  }
  for (const NamedRow& named : kNamedRows) {
    const std::string_view name = NameIn(named.row.api ? api_path : path, named);
    if (name.empty() || !matches(named.row, &match)) continue;
    std::optional<std::string> decoded = base::PercentDecode(name);
    if (!decoded.has_value())
      return request::MakeError(request::Reason::kInvalidRequest, "the path has a broken % sequence");
    match.parameter = *std::move(decoded);
    return match;
  }
  for (const NotOffered& row : kNotOffered) {
    if (!IsAt(api_path, row.path)) continue;
    return request::MakeError(request::Reason::kUnsupported,
                              absl::StrCat(base::View(row.what), " not offered: ", base::View(row.instead)));
  }
  const std::string shown(full_path.substr(0, 128));
  if (!allowed.empty()) {
    allowed += "OPTIONS";
    *allow = allowed;
    return request::MakeError(request::Reason::kMethodNotAllowed,
                              absl::StrCat(shown, " takes ", allowed, ", not ", base::View(method.substr(0, 16))));
  }
  return request::MakeError(request::Reason::kRouteNotFound, absl::StrCat("no route ", base::View(method.substr(0, 16)),
                                                                          " ", shown, Suggestion(method, shown)));
}

bool IsUpload(std::string_view method, std::string_view target) {
  std::string_view path = target.substr(0, target.find('?'));
  if (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  return method == "POST" && ApiPath(path) == "/files";
}

Api ApiOf(std::string_view target) {
  const std::string_view path = target.substr(0, target.find('?'));
  const std::string_view api_path = ApiPath(path);
  if (IsAt(api_path, "/messages") || path.starts_with("/anthropic/")) return Api::kAnthropic;
  if (path.starts_with("/api/")) return Api::kOllama;
  return IsAt(api_path, "/responses") ? Api::kResponses : Api::kOpenAi;
}

}  // namespace hadal::http
