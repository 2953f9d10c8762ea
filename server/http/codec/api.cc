// SPDX-License-Identifier: Apache-2.0
#include "server/http/codec/api.h"

#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/types/span.h"
#include "server/base/strings.h"
#include "server/request/refusal.h"

namespace hadal::http {
namespace {

struct FieldName {
  std::string_view common;
  std::string_view own;
};

// The first row that fits counts.
constexpr FieldName kAnthropicNames[] = {
    {"response_format.json_schema.schema", "output_config.format.schema"},
    {"response_format", "output_config.format"},
    {"reasoning_effort", "output_config.effort"},
    {"max_thinking_tokens", "thinking.budget_tokens"},
    {"stop", "stop_sequences"},
    {"user", "metadata.user_id"},
};

constexpr FieldName kResponsesNames[] = {
    {"messages", "input"},
    {"max_tokens", "max_output_tokens"},
    {"response_format.json_schema.schema", "text.format.schema"},
    {"response_format", "text.format"},
    {"reasoning_effort", "reasoning.effort"},
};

constexpr FieldName kOllamaNames[] = {
    {"max_tokens", "options.num_predict"},
    {"repetition_penalty", "options.repeat_penalty"},
    {"temperature", "options.temperature"},
    {"top_p", "options.top_p"},
    {"top_k", "options.top_k"},
    {"min_p", "options.min_p"},
    {"frequency_penalty", "options.frequency_penalty"},
    {"presence_penalty", "options.presence_penalty"},
    {"stop", "options.stop"},
    {"response_format", "format"},
    {"reasoning_effort", "think"},
};

absl::Span<const FieldName> NamesOf(Api api) {
  switch (api) {
    case Api::kOpenAi:
      break;
    case Api::kAnthropic:
      return kAnthropicNames;
    case Api::kResponses:
      return kResponsesNames;
    case Api::kOllama:
      return kOllamaNames;
  }
  return {};
}

// Whether `path` is `field` or leads to something inside it.
bool IsWithin(std::string_view path, std::string_view field) {
  return path.substr(0, field.size()) == field &&
         (path.size() == field.size() || path[field.size()] == '.' || path[field.size()] == '[');
}

std::string OwnName(Api api, std::string_view param) {
  if (api == Api::kOpenAi) return std::string(param);
  std::string own(param);
  for (const FieldName& name : NamesOf(api)) {
    if (!IsWithin(param, name.common)) continue;
    own = absl::StrCat(base::View(name.own), base::View(param.substr(name.common.size())));
    break;
  }
  if (api == Api::kOllama) return own;
  const bool anthropic = api == Api::kAnthropic;
  // A tool is its function there.
  if (IsWithin(own, "tools")) {
    absl::StrReplaceAll({{".function.parameters", anthropic ? ".input_schema" : ".parameters"}, {".function.", "."}},
                        &own);
  }
  absl::StrReplaceAll({{".tool_call_id", anthropic ? ".tool_use_id" : ".call_id"}}, &own);
  return own;
}

absl::string_view AnswerToACall(Api api) {
  switch (api) {
    case Api::kAnthropic:
      return "a tool_result block";
    case Api::kResponses:
      return "a function_call_output item";
    case Api::kOpenAi:
    case Api::kOllama:
      break;
  }
  return "a message of role tool";
}

}  // namespace

absl::Status InWordsOf(Api api, const absl::Status& status) {
  const request::ErrorDetail detail = request::GetErrorDetail(status);
  if (detail.param.empty() || detail.retry_after.has_value()) return status;
  const std::string own = OwnName(api, detail.param);
  const std::string message = absl::StrReplaceAll(
      status.message(),
      {{absl::StrCat("`", detail.param), absl::StrCat("`", own)}, {"a message of role tool", AnswerToACall(api)}});
  if (own == detail.param && message == status.message()) return status;
  return request::MakeError(detail.reason, message, own);
}

}  // namespace hadal::http
