// SPDX-License-Identifier: Apache-2.0
#include "server/http/codec/completion_codec.h"

#include <simdjson.h>

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/strings.h"
#include "server/http/codec/chat_codec.h"
#include "server/request/refusal.h"
#include "server/service/limits.h"

namespace hadal::http {
namespace {

using simdjson::dom::element;

// OpenAI's default for plain completions; chat has none.
constexpr int32_t kDefaultMaxTokens = 16;

absl::Status ReadTokenIds(const simdjson::dom::array& array, std::string_view path, std::vector<int32_t>* out) {
  for (const element item : array) {
    absl::Status status = ReadInt(item, path, &out->emplace_back());
    // The path is written for errors only: lists are as long as contexts.
    if (!status.ok()) return ReadInt(item, absl::StrCat(base::View(path), "[", out->size() - 1, "]"), &out->back());
  }
  return absl::OkStatus();
}

absl::Status ReadPrompts(const element& value, std::vector<PromptValue>* out) {
  out->clear();
  constexpr std::string_view kWanted =
      "a string, an array of strings, an array of token ids or an array of such arrays";
  if (value.is_string()) {
    std::string text;
    if (absl::Status status = ReadString(value, "prompt", &text); !status.ok()) return status;
    out->emplace_back(std::move(text));
    return absl::OkStatus();
  }
  simdjson::dom::array array;
  if (value.get_array().get(array) != simdjson::SUCCESS) return WrongType("prompt", kWanted, value);
  if (array.begin() == array.end()) return InvalidField("prompt", "`prompt` is an empty array");
  if ((*array.begin()).is_number()) {
    std::vector<int32_t> ids;
    if (absl::Status status = ReadTokenIds(array, "prompt", &ids); !status.ok()) return status;
    out->emplace_back(std::move(ids));
    return absl::OkStatus();
  }
  for (const element item : array) {
    if (out->size() == service::kMaxPromptsPerCall) {
      return InvalidField("prompt", absl::StrCat("`prompt` holds more than ", service::kMaxPromptsPerCall, " prompts"));
    }
    const std::string path = absl::StrCat("prompt[", out->size(), "]");
    simdjson::dom::array ids_array;
    if (item.is_string()) {
      std::string text;
      if (absl::Status status = ReadString(item, path, &text); !status.ok()) return status;
      out->emplace_back(std::move(text));
    } else if (item.get_array().get(ids_array) == simdjson::SUCCESS) {
      std::vector<int32_t> ids;
      if (absl::Status status = ReadTokenIds(ids_array, path, &ids); !status.ok()) return status;
      out->emplace_back(std::move(ids));
    } else {
      return WrongType(path, "a string or an array of token ids", item);
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<CompletionBody> DecodeCompletion(std::string_view body, int max_depth) {
  CompletionBody completion;
  service::CallOptions& options = completion.call.options;
  bool has_stream_options = false;
  std::optional<int32_t> best_of;
  absl::Status parsed = ParseObject(body, max_depth, [&](std::string_view name, const element& value) -> absl::Status {
    // `logprobs` is a number here and must be seen before the shared fields are.
    if (name == "logprobs") return ReadInt(value, name, &options.top_logprobs);
    absl::StatusOr<bool> common = ReadCommonField(name, value, &options, &completion.response);
    if (!common.ok()) return common.status();
    if (name == "stream_options") has_stream_options = true;
    if (*common) return absl::OkStatus();
    if (name == "prompt") return ReadPrompts(value, &completion.prompts);
    if (name == "suffix") return ReadString(value, name, &completion.call.suffix);
    if (name == "echo") return ReadBool(value, name, &completion.echo);
    if (name == "best_of") return ReadInt(value, name, &best_of);
    if (name == "parse_special_tokens") return ReadBool(value, name, &completion.call.parse_special_tokens);
    if (name == "add_special_tokens") return ReadBool(value, name, &completion.call.add_special_tokens);
    if (name == "max_thinking_tokens") {
      return InvalidField(name, "`max_thinking_tokens` is for chats: in a plain text nobody knows what thinking is");
    }
    return absl::OkStatus();
  });
  if (!parsed.ok()) return parsed;
  if (absl::Status status = CheckResponseOptions(completion.response, has_stream_options); !status.ok()) return status;
  if (completion.prompts.empty()) return InvalidField("prompt", "`prompt` is missing");
  if (best_of.has_value() && *best_of < 1) {
    return request::MakeError(request::Reason::kOutOfRange,
                              absl::StrCat("`best_of` is ", *best_of, "; it must be 1 or more"), "best_of");
  }
  if (best_of.has_value() && *best_of != 1 && *best_of != options.n) {
    return UnsupportedField("best_of", "`best_of` above `n` is not offered: ask for `n` choices and choose yourself");
  }
  if (options.top_logprobs.has_value() &&
      (*options.top_logprobs < 0 || *options.top_logprobs > service::kMaxTopLogprobs)) {
    return request::MakeError(
        request::Reason::kOutOfRange,
        absl::StrCat("`logprobs` is ", *options.top_logprobs, "; it must be from 0 to ", service::kMaxTopLogprobs),
        "logprobs");
  }
  if (completion.echo && completion.call.suffix.has_value()) {
    return InvalidField("suffix", "`suffix` and `echo` exclude each other");
  }
  if (completion.prompts.size() * static_cast<size_t>(std::max(options.n, 1)) > service::kMaxPromptsPerCall) {
    return InvalidField("n",
                        absl::StrCat("`prompt` and `n` ask for more than ", service::kMaxPromptsPerCall, " choices"));
  }
  options.prompt_logprobs = completion.echo && options.top_logprobs.has_value();
  if (!options.stopping.max_tokens.has_value()) {
    options.stopping.max_tokens = kDefaultMaxTokens;
    options.stopping.cap_max_tokens = true;  // nobody asked for more than the context leaves
  }
  return completion;
}

absl::StatusOr<TokenizeBody> DecodeTokenize(std::string_view body, int max_depth) {
  TokenizeBody tokenize;
  bool has_prompt = false, has_messages = false, continues = false;
  absl::Status parsed = ParseObject(body, max_depth, [&](std::string_view name, const element& value) -> absl::Status {
    if (name == "model") return ReadString(value, name, &tokenize.model);
    if (name == "prompt") {
      has_prompt = true;
      return ReadString(value, name, &tokenize.prompt);
    }
    if (name == "messages") {
      has_messages = true;
      return ReadMessages(value, &tokenize.messages);
    }
    if (name == "tools") return ReadTools(value, &tokenize.tools);
    if (name == "add_special_tokens") return ReadBool(value, name, &tokenize.add_special_tokens);
    if (name == "add_generation_prompt") return ReadBool(value, name, &tokenize.add_generation_prompt);
    if (name == "continue_final_message") return ReadBool(value, name, &continues);
    if (name == "return_token_strs") return ReadBool(value, name, &tokenize.return_token_strs);
    if (name == "parse_special_tokens") return ReadBool(value, name, &tokenize.parse_special_tokens);
    if (name == "chat_template_kwargs") {
      return ReadTemplateArguments(value, &tokenize.thinking, &tokenize.template_arguments_json);
    }
    if (name == "documents") return ReadDocuments(value, &tokenize.documents_json);
    return absl::OkStatus();
  });
  if (!parsed.ok()) return parsed;
  if (!has_prompt && !has_messages) return InvalidField("prompt", "`prompt` or `messages` is missing");
  if (has_messages && tokenize.messages.empty()) {
    return InvalidField("messages", "`messages` is empty: at least one message is needed");
  }
  if (has_messages && continues) {
    if (absl::Status status = ContinueFinalMessage(&tokenize.messages); !status.ok()) return status;
  }
  return tokenize;
}

absl::StatusOr<DetokenizeBody> DecodeDetokenize(std::string_view body, int max_depth) {
  DetokenizeBody detokenize;
  bool has_tokens = false;
  absl::Status parsed = ParseObject(body, max_depth, [&](std::string_view name, const element& value) -> absl::Status {
    if (name == "model") return ReadString(value, name, &detokenize.model);
    if (name == "skip_special_tokens") return ReadBool(value, name, &detokenize.skip_special_tokens);
    if (name == "tokens") {
      has_tokens = true;
      detokenize.tokens.clear();
      simdjson::dom::array array;
      if (value.get_array().get(array) != simdjson::SUCCESS) return WrongType(name, "an array of token ids", value);
      return ReadTokenIds(array, name, &detokenize.tokens);
    }
    return absl::OkStatus();
  });
  if (!parsed.ok()) return parsed;
  if (!has_tokens) return InvalidField("tokens", "`tokens` is missing");
  return detokenize;
}

}  // namespace hadal::http
