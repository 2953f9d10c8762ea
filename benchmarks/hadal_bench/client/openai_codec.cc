// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/client/openai_codec.h"

#include <simdjson.h>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "server/base/strings.h"

namespace hadal::bench {
namespace {

using simdjson::dom::element;

void AppendQuoted(std::string_view text, std::string* out) {
  static constexpr char kHex[] = "0123456789abcdef";
  out->push_back('"');
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out->push_back('\\');
      out->push_back(c);
    } else if (byte < 0x20) {
      absl::StrAppend(out, "\\u00");
      out->push_back(kHex[byte >> 4]);
      out->push_back(kHex[byte & 15]);
    } else {
      out->push_back(c);
    }
  }
  out->push_back('"');
}

std::string_view TextOf(simdjson::simdjson_result<element> value) {
  std::string_view text;
  return value.get(text) ? std::string_view() : text;
}

int CountOf(simdjson::simdjson_result<element> value) {
  int64_t count;
  return value.get(count) ? -1 : static_cast<int>(count);
}

// Reasons come from servers: bounded, so that a table of them stays readable.
std::string ReasonName(std::string_view text) {
  std::string name;
  for (const char c : text.substr(0, 64)) {
    name.push_back(absl::ascii_isalnum(c) || c == '_' || c == '.' || c == '-' ? c : '_');
  }
  return name;
}

// The reason in an error object: its code, else its type; codes that are numbers say too little.
std::string ErrorName(const element& error) {
  std::string_view name = TextOf(error["code"]);
  if (name.empty()) name = TextOf(error["type"]);
  if (name.empty()) name = TextOf(error["error_type"]);
  return ReasonName(name);
}

// The reason of an object with an `error` in it, which some servers name beside it, or of an error itself.
std::string ErrorIn(const element& root) {
  element error;
  std::string name = root["error"].get(error) ? std::string() : ErrorName(error);
  return name.empty() ? ErrorName(root) : name;
}

// The text for people in an error, which some servers send as a bare string.
std::string MessageOf(const element& error) {
  std::string_view text;
  if (error.get(text)) text = TextOf(error["message"]);
  return std::string(text);
}

// Bytes of content in a choice, streamed (`delta`, `text`) or whole (`message`).
size_t ContentBytes(const element& choice) {
  size_t bytes = TextOf(choice["text"]).size();
  for (const char* key : {"delta", "message"}) {
    element delta;
    if (choice[key].get(delta)) continue;
    bytes +=
        TextOf(delta["content"]).size() + TextOf(delta["reasoning_content"]).size() + TextOf(delta["reasoning"]).size();
    simdjson::dom::array calls;
    if (delta["tool_calls"].get(calls)) continue;
    for (const element call : calls) {
      bytes += TextOf(call["function"]["name"]).size() + TextOf(call["function"]["arguments"]).size();
    }
  }
  return bytes;
}

}  // namespace

std::string EncodeCall(const CallSpec& spec, OpenAiApi api, std::string_view model, std::string_view more_members) {
  std::string body = "{\"model\":";
  AppendQuoted(model, &body);
  if (api == OpenAiApi::kChat) {
    body += ",\"messages\":[{\"role\":\"user\",\"content\":";
    AppendQuoted(spec.prompt, &body);
    body += "}]";
  } else {
    body += ",\"prompt\":";
    AppendQuoted(spec.prompt, &body);
  }
  absl::StrAppend(&body,
                  spec.form.max_completion_tokens ? ",\"max_completion_tokens\":" : ",\"max_tokens\":", spec.max_tokens,
                  ",\"stream\":true");
  if (spec.form.usage) absl::StrAppend(&body, ",\"stream_options\":{\"include_usage\":true}");
  if (spec.form.exact_length) absl::StrAppend(&body, ",\"ignore_eos\":true,\"min_tokens\":", spec.max_tokens);
  if (!more_members.empty()) absl::StrAppend(&body, ",", base::View(more_members));
  body += '}';
  return body;
}

struct AnswerReader::Parser {
  simdjson::dom::parser json;
};

AnswerReader::AnswerReader() : parser_(std::make_unique<Parser>()) {}
AnswerReader::~AnswerReader() = default;

size_t AnswerReader::OnEvent(std::string_view data) {
  if (data == "[DONE]") {
    done_ = true;
    return 0;
  }
  element root;
  if (parser_->json.parse(data.data(), data.size()).get(root)) {
    if (error_reason_.empty()) error_reason_ = "broken_json";
    found_.message = std::string(data.substr(0, 200));
    return 0;
  }
  element error;
  if (!root["error"].get(error) && !error.is_null()) return SetError(ErrorIn(root), MessageOf(error)), 0;
  if (TextOf(root["object"]) == "error") return SetError(ErrorName(root), MessageOf(root)), 0;  // older vLLM
  element usage;
  if (!root["usage"].get(usage) && !usage.is_null()) {
    found_.prompt_tokens = CountOf(usage["prompt_tokens"]);
    found_.completion_tokens = CountOf(usage["completion_tokens"]);
    found_.cached_tokens = CountOf(usage["prompt_cache_hit_tokens"]);
    if (found_.cached_tokens < 0) found_.cached_tokens = CountOf(usage["prompt_tokens_details"]["cached_tokens"]);
  }
  size_t bytes = 0;
  simdjson::dom::array choices;
  if (root["choices"].get(choices)) return 0;
  for (const element choice : choices) {
    bytes += ContentBytes(choice);
    if (const std::string_view finish = TextOf(choice["finish_reason"]); !finish.empty())
      found_.finish_reason = ReasonName(finish);
  }
  content_bytes_ += bytes;
  return bytes;
}

void AnswerReader::OnErrorEvent(std::string_view data) {
  element root, error;
  if (parser_->json.parse(data.data(), data.size()).get(root)) return SetError("", std::string(data.substr(0, 200)));
  if (root["error"].get(error)) error = root;
  SetError(ErrorIn(root), MessageOf(error));
}

void AnswerReader::SetError(std::string reason, std::string message) {
  error_reason_ = reason.empty() ? "error_event" : std::move(reason);
  found_.message = std::move(message);
}

void AnswerReader::Finish(bool clean, CallResult* result) const {
  result->prompt_tokens = found_.prompt_tokens;
  result->completion_tokens = found_.completion_tokens;
  result->cached_tokens = found_.cached_tokens;
  result->finish_reason = found_.finish_reason;
  result->message = found_.message;
  result->end = CallEnd::kFailed;
  if (!error_reason_.empty()) {
    result->reason = error_reason_;
  } else if (!done_ && (!clean || found_.finish_reason.empty())) {
    result->reason = "cut_off";
    result->message = "the stream ended before the answer did";
  } else if (found_.finish_reason == "insufficient_system_resource") {
    result->reason = found_.finish_reason;
  } else if (content_bytes_ == 0) {
    result->reason = "empty_answer";
    result->message = "status 200 without any content";
  } else {
    result->end = CallEnd::kServed;
  }
}

void ReadErrorBody(int status, std::string_view header_reason, std::string_view body, CallResult* result) {
  result->status = status;
  result->end = status == 429 || status == 503 || status == 529 ? CallEnd::kRefused : CallEnd::kFailed;
  result->reason = ReasonName(header_reason);
  simdjson::dom::parser parser;
  element root, error;
  if (!parser.parse(body.data(), body.size()).get(root)) {
    if (!root["error"].get(error)) {
      result->message = MessageOf(error);
      if (result->reason.empty() && error.is_object()) result->reason = ErrorName(error);
    } else {
      result->message = std::string(TextOf(root["message"]));
      if (result->message.empty()) result->message = std::string(TextOf(root["detail"]));
    }
  }
  if (result->reason.empty()) result->reason = absl::StrCat("http_", status);
  if (result->message.empty()) result->message = std::string(body.substr(0, 200));
}

bool ReadErrorOfSuccess(std::string_view body, CallResult* result) {
  simdjson::dom::parser parser;
  element root, error;
  if (parser.parse(body.data(), body.size()).get(root)) return false;
  if (root["error"].get(error) || error.is_null()) {
    if (TextOf(root["object"]) != "error") return false;
    error = root;
  }
  result->end = CallEnd::kFailed;
  result->reason = ErrorIn(root);
  if (result->reason.empty()) result->reason = "error_event";
  result->message = MessageOf(error);
  return true;
}

absl::StatusOr<std::string> FirstModel(std::string_view body) {
  simdjson::dom::parser parser;
  element root;
  std::string_view id;
  if (parser.parse(body.data(), body.size()).get(root) || root["data"].at(0)["id"].get(id)) {
    return absl::InvalidArgumentError(absl::StrCat("no model in the answer '", base::View(body.substr(0, 120)), "'"));
  }
  return std::string(id);
}

}  // namespace hadal::bench
