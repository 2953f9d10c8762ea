// SPDX-License-Identifier: Apache-2.0
#include "server/http/codec/ollama_codec.h"

#include <simdjson.h>

#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/base/log.h"
#include "server/base/strings.h"
#include "server/http/codec/chat_codec.h"
#include "server/http/codec/common_codec.h"

namespace hadal::http {
namespace {

using base::View;
using simdjson::dom::element;
using simdjson::dom::object;

// Bytes of the names of ignored options that the log repeats.
constexpr size_t kShownNamesBytes = 256;

// A body of either route while it is read.
struct Fields {
  service::ChatCall call;
  OllamaOptions response;
  bool logprobs = false;
  // Of /api/generate.
  std::string prompt, system;
  std::optional<std::string> suffix;
  bool raw = false;
};

// "num_predict": without a limit where it is not positive. Ollama's clients set it without knowing the context.
absl::Status ReadLimit(const element& value, std::string_view path, service::StopOptions* out) {
  if (absl::Status status = ReadInt(value, path, &out->max_tokens); !status.ok()) return status;
  if (*out->max_tokens <= 0) out->max_tokens.reset();
  out->cap_max_tokens = true;
  return absl::OkStatus();
}

// False: not an option of this server.
absl::StatusOr<bool> ReadOption(std::string_view name, const element& value, service::CallOptions* options) {
  service::SamplingOptions& sampling = options->sampling;
  const std::string path = absl::StrCat("options.", View(name));
  absl::Status status;
  if (name == "temperature") {
    status = ReadFloat(value, path, &sampling.temperature);
  } else if (name == "top_p") {
    status = ReadFloat(value, path, &sampling.top_p);
  } else if (name == "top_k") {
    status = ReadInt(value, path, &sampling.top_k);
  } else if (name == "min_p") {
    status = ReadFloat(value, path, &sampling.min_p);
  } else if (name == "repeat_penalty") {
    status = ReadFloat(value, path, &sampling.repetition_penalty);
  } else if (name == "frequency_penalty") {
    status = ReadFloat(value, path, &sampling.frequency_penalty);
  } else if (name == "presence_penalty") {
    status = ReadFloat(value, path, &sampling.presence_penalty);
  } else if (name == "seed") {
    status = ReadSeed(value, path, &sampling.seed);
  } else if (name == "stop") {
    status = ReadStop(value, path, &options->stopping.stop);
  } else if (name == "num_predict") {
    status = ReadLimit(value, path, &options->stopping);
  } else {
    return false;
  }
  if (!status.ok()) return status;
  return true;
}

absl::Status ReadOptions(const element& value, service::CallOptions* options) {
  object fields;
  if (absl::Status status = ReadObject(value, "options", &fields); !status.ok()) return status;
  std::string ignored;
  for (const auto field : fields) {
    if (field.value.is_null()) continue;
    const absl::StatusOr<bool> read = ReadOption(field.key, field.value, options);
    if (!read.ok()) return read.status();
    if (!*read && ignored.size() < kShownNamesBytes) {
      const std::string_view name = std::string_view(field.key).substr(0, kShownWordBytes);
      absl::StrAppend(&ignored, ignored.empty() ? "" : ", ", View(name));
    }
  }
  if (!ignored.empty()) {
    base::Log(base::LogLevel::kInfo, "http", "options of Ollama's API that this server does not have are ignored",
              {{"options", ignored}});
  }
  return absl::OkStatus();
}

// "json", a schema, or nothing at all.
absl::Status ReadFormat(const element& value, service::ResponseFormat* format) {
  using Kind = service::ResponseFormat::Kind;
  if (value.is_object()) {
    *format = {.kind = Kind::kJsonSchema, .schema_json = simdjson::minify(value), .field = "format"};
    return absl::OkStatus();
  }
  std::string name;
  if (!ReadString(value, "format", &name).ok()) return WrongType("format", "\"json\" or a JSON schema", value);
  if (name == "json") *format = {.kind = Kind::kJsonObject, .field = "format"};
  if (name.empty() || name == "json") return absl::OkStatus();
  return UnknownWord("format", name, "\"json\" or a JSON schema");
}

// A switch, or how much.
absl::Status ReadThink(const element& value, service::ChatCall* call) {
  if (value.is_bool()) return ReadBool(value, "think", &call->thinking);
  std::string effort;
  if (!ReadString(value, "think", &effort).ok()) return WrongType("think", "a boolean or a level", value);
  call->thinking = true;
  return service::SetReasoningEffort(effort, call);
}

// Whether the model is to be kept for no time at all. How long it stays otherwise is not up to clients.
bool IsNoTime(const element& value) {
  double seconds = 1;
  std::string_view text;
  return (value.get_double().get(seconds) == simdjson::SUCCESS && seconds == 0) ||
         (value.get_string().get(text) == simdjson::SUCCESS && (text == "0" || text == "0s" || text == "0m"));
}

absl::StatusOr<bool> ReadSharedField(std::string_view name, const element& value, Fields* out) {
  service::CallOptions& options = out->call.options;
  absl::Status status;
  if (name == "model") {
    status = ReadString(value, name, &options.model);
  } else if (name == "stream") {
    status = ReadBool(value, name, &out->response.stream);
  } else if (name == "options") {
    status = ReadOptions(value, &options);
  } else if (name == "format") {
    status = ReadFormat(value, &options.response_format);
  } else if (name == "think") {
    status = ReadThink(value, &out->call);
  } else if (name == "keep_alive") {
    out->response.unload = IsNoTime(value);
  } else if (name == "logprobs") {
    status = ReadBool(value, name, &out->logprobs);
  } else if (name == "top_logprobs") {
    status = ReadInt(value, name, &options.top_logprobs);
  } else if (name == "max_thinking_tokens") {
    status = ReadInt(value, name, &out->call.max_thinking_tokens);
  } else if (name == "cache_salt") {
    status = ReadString(value, name, &options.cache_salt);
  } else {
    return false;
  }
  if (!status.ok()) return status;
  return true;
}

absl::Status ReadGenerateField(std::string_view name, const element& value, Fields* out) {
  if (name == "prompt") return ReadString(value, name, &out->prompt);
  if (name == "system") return ReadString(value, name, &out->system);
  if (name == "suffix") return ReadString(value, name, &out->suffix);
  if (name == "raw") return ReadBool(value, name, &out->raw);
  if (name == "images") return RefuseImages(value, name);
  if (name == "template") {
    std::string text;
    absl::Status status = ReadString(value, name, &text);
    if (!status.ok() || text.empty()) return status;
    return InvalidField(name, "`template` is not offered: send the text as it is to be, with `raw`");
  }
  if (name == "context") {
    simdjson::dom::array ids;
    absl::Status status = ReadArray(value, name, &ids);
    if (!status.ok() || ids.size() == 0) return status;
    return InvalidField(name, "`context` is not offered: send the whole conversation to /api/chat");
  }
  return absl::OkStatus();
}

// Without log-probabilities wanted, how many alternatives does not matter.
void SettleLogprobs(Fields* fields) {
  std::optional<int32_t>& top = fields->call.options.top_logprobs;
  if (!fields->logprobs) {
    top.reset();
  } else if (!top.has_value()) {
    top = 0;
  }
}

// What stands for a question that was not asked: the model is to be there. One token is read and none is written.
OllamaBody Touch(Fields fields) {
  OllamaOptions response = fields.response;
  response.generates = false;
  service::GenerateCall call;
  call.options.model = std::move(fields.call.options.model);
  call.options.stopping.max_tokens = 0;
  call.prompt.emplace<std::string>("\n");
  return OllamaBody{.call = std::move(call), .response = response};
}

}  // namespace

std::string WithoutTag(std::string_view model, const service::GenerateService& service) {
  constexpr std::string_view kLatest = ":latest";
  if (model.ends_with(kLatest) && !service.FindModel(model).ok()) model.remove_suffix(kLatest.size());
  return std::string(model);
}

absl::StatusOr<OllamaBody> DecodeOllamaChat(std::string_view body, int max_depth) {
  Fields fields;
  absl::Status parsed = ParseObject(body, max_depth, [&](std::string_view name, const element& value) -> absl::Status {
    const absl::StatusOr<bool> shared = ReadSharedField(name, value, &fields);
    if (!shared.ok() || *shared) return shared.status();
    if (name == "messages") return ReadOllamaMessages(value, &fields.call.messages);
    if (name == "tools") return ReadTools(value, &fields.call.tools, &fields.call.strict_tools);
    if (name == "reasoning_control") return ReadBool(value, name, &fields.call.reasoning_control);
    return absl::OkStatus();
  });
  if (!parsed.ok()) return parsed;
  if (fields.call.messages.empty()) return Touch(std::move(fields));
  SettleLogprobs(&fields);
  return OllamaBody{.call = std::move(fields.call), .response = fields.response};
}

absl::StatusOr<OllamaBody> DecodeOllamaGenerate(std::string_view body, int max_depth) {
  Fields fields;
  fields.response.message = false;
  absl::Status parsed = ParseObject(body, max_depth, [&](std::string_view name, const element& value) -> absl::Status {
    const absl::StatusOr<bool> shared = ReadSharedField(name, value, &fields);
    if (!shared.ok() || *shared) return shared.status();
    return ReadGenerateField(name, value, &fields);
  });
  if (!parsed.ok()) return parsed;
  const bool fills = fields.suffix.has_value() && !fields.suffix->empty();
  if (fields.prompt.empty() && !fills) return Touch(std::move(fields));
  SettleLogprobs(&fields);
  if (fields.raw || fills) {
    service::GenerateCall call;
    call.options = std::move(fields.call.options);
    call.prompt = std::move(fields.prompt);
    if (fills) call.suffix = std::move(fields.suffix);
    return OllamaBody{.call = std::move(call), .response = fields.response};
  }
  chat::ChatMessage message;
  message.role = "user";
  message.content = std::move(fields.prompt);
  fields.call.messages.push_back(std::move(message));
  fields.call.message_paths.emplace_back("prompt");
  PrependSystem(std::move(fields.system), "system", &fields.call);
  return OllamaBody{.call = std::move(fields.call), .response = fields.response};
}

}  // namespace hadal::http
