// SPDX-License-Identifier: Apache-2.0
#include "server/service/calls.h"

#include <set>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "base/utf8.h"
#include "models/chat/python_json.h"
#include "server/base/strings.h"
#include "server/request/refusal.h"
#include "server/service/limits.h"

namespace hadal::service {
namespace {

using request::MakeError;
using request::Reason;

absl::Status Invalid(std::string_view param, std::string_view message) {
  return MakeError(Reason::kInvalidRequest, message, param);
}

// What the client wrote, cut for a message.
absl::string_view Shown(std::string_view text) { return base::View(base::Utf8Prefix(text, 64)); }

absl::Status TooMany(std::string_view param, size_t found, size_t limit, std::string_view what) {
  return Invalid(param, absl::StrCat("`", base::View(param), "` holds ", found, " ", base::View(what), "; at most ",
                                     limit, " are allowed"));
}

template <typename T>
absl::Status OutOfRange(std::string_view param, T found, std::string_view range) {
  return MakeError(Reason::kOutOfRange,
                   absl::StrCat("`", base::View(param), "` is ", found, "; it must be ", base::View(range)), param);
}

// NaN is outside every range.
absl::Status CheckFloat(std::string_view param, const std::optional<float>& value, float low, bool low_open, float high,
                        std::string_view range) {
  if (!value.has_value()) return absl::OkStatus();
  if ((low_open ? *value > low : *value >= low) && *value <= high) return absl::OkStatus();
  return OutOfRange(param, *value, range);
}

absl::Status CheckSampling(const SamplingOptions& sampling) {
  for (const absl::Status& status : {
           CheckFloat("temperature", sampling.temperature, 0, false, kMaxTemperature, "from 0 to 2"),
           CheckFloat("top_p", sampling.top_p, 0, false, 1, "from 0 to 1"),
           CheckFloat("min_p", sampling.min_p, 0, false, 1, "from 0 to 1"),
           CheckFloat("repetition_penalty", sampling.repetition_penalty, 0, true, kMaxRepetitionPenalty,
                      "above 0 and at most 10"),
           CheckFloat("frequency_penalty", sampling.frequency_penalty, -kMaxFrequencyPenalty, false,
                      kMaxFrequencyPenalty, "from -2 to 2"),
           CheckFloat("presence_penalty", sampling.presence_penalty, -kMaxFrequencyPenalty, false, kMaxFrequencyPenalty,
                      "from -2 to 2"),
       }) {
    if (!status.ok()) return status;
  }
  if (sampling.top_k.has_value() && *sampling.top_k < -1) {
    return OutOfRange("top_k", *sampling.top_k, "0 or -1 (off), or more");
  }
  if (sampling.logit_bias.size() > kMaxLogitBias) {
    return TooMany("logit_bias", sampling.logit_bias.size(), kMaxLogitBias, "entries");
  }
  for (const auto& [token, bias] : sampling.logit_bias) {
    if (!(bias >= -kMaxLogitBiasValue && bias <= kMaxLogitBiasValue)) {
      return OutOfRange("logit_bias", bias, "from -100 to 100");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckStopping(const StopOptions& stopping) {
  if (stopping.max_tokens.has_value() && *stopping.max_tokens < 0) {
    return OutOfRange("max_tokens", *stopping.max_tokens, "0 or more");
  }
  if (stopping.min_tokens < 0) return OutOfRange("min_tokens", stopping.min_tokens, "0 or more");
  if (stopping.max_tokens.has_value() && stopping.min_tokens > *stopping.max_tokens) {
    return OutOfRange("min_tokens", stopping.min_tokens, absl::StrCat("at most max_tokens, ", *stopping.max_tokens));
  }
  if (stopping.stop.size() > kMaxStopStrings) return TooMany("stop", stopping.stop.size(), kMaxStopStrings, "strings");
  for (const std::string& stop : stopping.stop) {
    if (stop.empty()) return Invalid("stop", "`stop` holds an empty string");
    if (stop.size() > kMaxStopStringBytes) {
      return Invalid("stop", absl::StrCat("`stop` holds a string of ", stop.size(), " bytes; at most ",
                                          kMaxStopStringBytes, " are allowed"));
    }
  }
  if (stopping.stop_token_ids.size() > kMaxStopTokenIds) {
    return TooMany("stop_token_ids", stopping.stop_token_ids.size(), kMaxStopTokenIds, "ids");
  }
  return absl::OkStatus();
}

absl::Status CheckLength(std::string_view param, const std::string& value, size_t limit) {
  if (value.size() <= limit) return absl::OkStatus();
  return Invalid(
      param, absl::StrCat("`", base::View(param), "` has ", value.size(), " bytes; at most ", limit, " are allowed"));
}

absl::Status CheckOptions(const CallOptions& options) {
  if (options.n < 1 || options.n > kMaxChoices)
    return OutOfRange("n", options.n, absl::StrCat("from 1 to ", kMaxChoices));
  if (options.top_logprobs.has_value() && (*options.top_logprobs < 0 || *options.top_logprobs > kMaxTopLogprobs)) {
    return OutOfRange("top_logprobs", *options.top_logprobs, absl::StrCat("from 0 to ", kMaxTopLogprobs));
  }
  for (const absl::Status& status :
       {CheckLength("model", options.model, kMaxModelNameBytes), CheckLength("user", options.user, kMaxUserBytes),
        CheckLength("cache_salt", options.cache_salt, kMaxUserBytes), CheckSampling(options.sampling),
        CheckStopping(options.stopping)}) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

bool KnownRole(std::string_view role) {
  return role == "system" || role == "developer" || role == "user" || role == "assistant" || role == "latest_reminder";
}

// The calls of one message; their ids join `open`.
absl::Status CheckToolCalls(const chat::ChatMessage& message, const std::string& path,
                            std::set<std::string_view>* open) {
  if (message.tool_calls.empty()) return absl::OkStatus();
  const std::string calls = absl::StrCat(path, ".tool_calls");
  if (message.role != "assistant")
    return Invalid(calls, absl::StrCat("`", calls, "` belongs to an assistant's message"));
  if (message.prefix)
    return Invalid(calls, absl::StrCat("`", calls, "`: a message with `prefix` cannot hold tool calls"));
  if (message.tool_calls.size() > kMaxToolCallsPerMessage) {
    return TooMany(calls, message.tool_calls.size(), kMaxToolCallsPerMessage, "calls");
  }
  for (size_t i = 0; i < message.tool_calls.size(); ++i) {
    const chat::ChatToolCall& call = message.tool_calls[i];
    const std::string here = absl::StrCat(calls, "[", i, "]");
    if (call.name.empty()) {
      return Invalid(here + ".function.name", absl::StrCat("`", here, ".function.name` is missing"));
    }
    if (call.id.empty()) return Invalid(here + ".id", absl::StrCat("`", here, ".id` is missing"));
    if (!open->insert(call.id).second) {
      return Invalid(here + ".id", absl::StrCat("`", here, ".id` is \"", Shown(call.id), "\", as another call's is"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckToolMessage(const chat::ChatMessage& message, const std::string& path,
                              std::set<std::string_view>* open) {
  const std::string param = absl::StrCat(path, ".tool_call_id");
  if (message.tool_call_id.empty()) return Invalid(param, absl::StrCat("`", param, "` is missing"));
  if (open->erase(message.tool_call_id) > 0) return absl::OkStatus();
  return Invalid(param, absl::StrCat("`", path, "` answers the tool call \"", Shown(message.tool_call_id),
                                     "\", which is not an open call of the assistant message before it"));
}

// Each tool message answers a call of the assistant turn before it, and no call stays open when the conversation goes
// on.
absl::Status CheckMessages(const ChatCall& call) {
  const std::vector<chat::ChatMessage>& messages = call.messages;
  if (messages.empty()) return Invalid("messages", "`messages` is empty: at least one message is needed");
  if (messages.size() > kMaxMessages) return TooMany("messages", messages.size(), kMaxMessages, "messages");
  std::set<std::string_view> open;
  const auto unanswered = [&](const std::string& where) {
    return absl::StrCat(where, " before the tool call \"", Shown(*open.begin()),
                        "\" has been answered by a message of role tool");
  };
  for (size_t i = 0; i < messages.size(); ++i) {
    const chat::ChatMessage& message = messages[i];
    const std::string path = i < call.message_paths.size() ? call.message_paths[i] : absl::StrCat("messages[", i, "]");
    if (message.role == "tool") {
      if (absl::Status status = CheckToolMessage(message, path, &open); !status.ok()) return status;
      continue;
    }
    if (!open.empty()) return Invalid(path, unanswered(absl::StrCat("`", path, "` comes")));
    if (!KnownRole(message.role)) {
      return Invalid(absl::StrCat(path, ".role"),
                     absl::StrCat("`", path, ".role` is \"", Shown(message.role),
                                  "\"; it must be system, developer, user, assistant or tool"));
    }
    if (message.prefix && (message.role != "assistant" || i + 1 != messages.size())) {
      return Invalid(absl::StrCat(path, ".prefix"),
                     "`prefix` belongs to the last message, and that must be an assistant's");
    }
    if (absl::Status status = CheckToolCalls(message, path, &open); !status.ok()) return status;
  }
  if (!open.empty()) return Invalid("messages", unanswered("`messages` ends"));
  return absl::OkStatus();
}

absl::Status CheckTools(const std::vector<chat::ChatTool>& tools) {
  if (tools.size() > kMaxTools) return TooMany("tools", tools.size(), kMaxTools, "tools");
  for (size_t i = 0; i < tools.size(); ++i) {
    const std::string path = absl::StrCat("tools[", i, "].function.name");
    const std::string& name = tools[i].name;
    if (name.empty() || name.size() > kMaxToolNameBytes) {
      return Invalid(path, absl::StrCat("`", path, "` has ", name.size(), " characters; 1 to ", kMaxToolNameBytes,
                                        " are allowed"));
    }
    for (char c : name) {
      if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
          c == '.') {
        continue;
      }
      return Invalid(path, absl::StrCat("`", path, "` may hold letters, digits, _, - and . only"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status SetReasoningEffort(std::string_view effort, ChatCall* call) {
  using chat::ReasoningEffort;
  if (effort == "none") {
    call->thinking = false;
  } else if (effort == "minimal" || effort == "low") {
    call->reasoning_effort = ReasoningEffort::kLow;
  } else if (effort == "medium" || effort == "high") {
    call->reasoning_effort = ReasoningEffort::kHigh;
  } else if (effort == "xhigh" || effort == "max" || effort == "ultra") {
    call->reasoning_effort = ReasoningEffort::kMax;
  } else {
    return MakeError(
        Reason::kOutOfRange,
        absl::StrCat(
            "`reasoning_effort` is \"", base::View(effort.substr(0, 32)),
            "\"; it must be \"none\", \"minimal\", \"low\", \"medium\", \"high\", \"xhigh\", \"max\" or \"ultra\""),
        "reasoning_effort");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<bool>> ThinkingIn(std::string_view template_arguments_json) {
  const auto members = chat::PythonJsonMembers(template_arguments_json);
  if (!members.ok()) {
    return MakeError(Reason::kInvalidRequest, absl::StrCat("`chat_template_kwargs`: ", members.status().message()),
                     "chat_template_kwargs");
  }
  std::optional<bool> thinking;
  for (const chat::JsonMember& member : *members) {
    if (member.key != "thinking" && member.key != "enable_thinking") continue;
    if (!member.is_string && member.value == "null") continue;
    if (member.is_string || (member.value != "true" && member.value != "false")) {
      return MakeError(Reason::kOutOfRange, "`chat_template_kwargs.thinking` must be a boolean",
                       "chat_template_kwargs.thinking");
    }
    thinking = member.value == "true";
  }
  return thinking;
}

absl::Status Validate(const ChatCall& call) {
  if (absl::Status status = CheckOptions(call.options); !status.ok()) return status;
  if (call.max_thinking_tokens.value_or(0) < 0) {
    return OutOfRange("max_thinking_tokens", *call.max_thinking_tokens, "0 or more");
  }
  if (absl::Status status = CheckMessages(call); !status.ok()) return status;
  return CheckTools(call.tools);
}

absl::Status Validate(const GenerateCall& call) {
  if (absl::Status status = CheckOptions(call.options); !status.ok()) return status;
  if (const auto* ids = std::get_if<std::vector<int32_t>>(&call.prompt)) {
    if (ids->empty()) return Invalid("prompt", "`prompt` is empty");
    if (call.suffix.has_value()) return Invalid("suffix", "`suffix` needs a `prompt` of text, not of token ids");
  }
  if (call.suffix.has_value() && call.options.prompt_logprobs) {
    return Invalid("suffix", "`suffix` and `echo` exclude each other");
  }
  return absl::OkStatus();
}

}  // namespace hadal::service
