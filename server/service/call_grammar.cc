// SPDX-License-Identifier: Apache-2.0
#include "server/service/call_grammar.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/utf8.h"
#include "models/chat/tool_syntax.h"
#include "models/grammar/json_format.h"
#include "models/grammar/json_schema.h"
#include "models/grammar/text_format.h"
#include "models/grammar/tool_grammar.h"
#include "server/base/strings.h"
#include "server/request/refusal.h"

namespace hadal::service {
namespace {

using request::MakeError;
using request::Reason;

constexpr std::string_view kResponseFormat = "response_format";
constexpr std::string_view kResponseSchema = "response_format.json_schema.schema";
constexpr std::string_view kNoParameters =
    R"({"type":"object","properties":{},"required":[],"additionalProperties":false})";
constexpr std::string_view kAnyArguments = R"({"type":"object","additionalProperties":true})";

absl::Status Invalid(std::string_view param, std::string_view message) {
  return MakeError(Reason::kInvalidRequest, message, param);
}

absl::StatusOr<std::string> Prepare(const std::string& schema, grammar::SchemaDialect dialect, const std::string& param,
                                    const grammar::SchemaLimits& limits) {
  absl::StatusOr<std::string> prepared = grammar::PrepareSchema(schema, dialect, limits);
  if (prepared.ok()) return prepared;
  return Invalid(param, absl::StrCat("`", param, "` at ", prepared.status().message()));
}

absl::StatusOr<CallGrammar> FormatGrammar(const ResponseFormat& format, grammar::Reasoning reasoning,
                                          const grammar::SchemaLimits& limits) {
  using Kind = ResponseFormat::Kind;
  if (format.kind == Kind::kJsonObject) {
    return CallGrammar{grammar::JsonObjectSpec(reasoning), std::string(kResponseFormat)};
  }
  if (format.kind == Kind::kChoice || format.kind == Kind::kRegex) {
    absl::StatusOr<grammar::GrammarSpec> spec = format.kind == Kind::kChoice
                                                    ? grammar::ChoiceSpec(format.choices, reasoning, limits)
                                                    : grammar::RegexSpec(format.regex, reasoning, limits);
    if (!spec.ok()) return Invalid(format.field, absl::StrCat("`", format.field, "`: ", spec.status().message()));
    return CallGrammar{*std::move(spec), format.field};
  }
  const std::string param(format.field.empty() ? kResponseSchema : std::string_view(format.field));
  absl::StatusOr<std::string> prepared = Prepare(format.schema_json, grammar::SchemaDialect::kGeneral, param, limits);
  if (!prepared.ok()) return prepared.status();
  return CallGrammar{grammar::JsonSchemaSpec(*prepared, reasoning), param};
}

bool AnyStrict(const ChatCall& call) {
  for (const bool strict : call.strict_tools) {
    if (strict) return true;
  }
  return false;
}

// `answer`: what stands instead of a call that is not forced; null for free text.
absl::StatusOr<CallGrammar> ToolGrammar(const ChatCall& call, const ServedModel& model, grammar::Reasoning reasoning,
                                        grammar::SchemaLimits limits, const CallGrammar* answer) {
  const chat::ToolSyntax syntax = model.chat_template->tool_syntax();
  using Arguments = chat::ToolMarkup::Arguments;
  using Lengths = grammar::SchemaLimits::Lengths;
  const Arguments arguments = chat::ToolMarkupOf(syntax).arguments;
  limits.string_lengths = arguments == Arguments::kJson         ? Lengths::kJson
                          : arguments == Arguments::kParameters ? Lengths::kDsml
                                                                : Lengths::kNone;
  const bool must = call.tool_choice != ToolChoice::kAuto;
  const bool named = call.tool_choice == ToolChoice::kNamed;
  std::vector<grammar::GrammarTool> tools;
  bool partial = false;
  for (size_t i = 0; i < call.tools.size(); ++i) {
    const chat::ChatTool& tool = call.tools[i];
    if (named && tool.name != call.tool_name) continue;
    const bool strict = i < call.strict_tools.size() && call.strict_tools[i];
    std::string schema(tool.parameters_json.empty() ? kNoParameters : std::string_view(tool.parameters_json));
    const std::string param = absl::StrCat("tools[", i, "].function.parameters");
    if (strict) {
      absl::StatusOr<std::string> prepared = Prepare(schema, grammar::SchemaDialect::kStrictTool, param, limits);
      if (!prepared.ok()) return prepared.status();
      schema = *std::move(prepared);
    } else if (must) {
      absl::StatusOr<grammar::RelaxedSchema> relaxed = grammar::RelaxSchema(schema, limits);
      if (!relaxed.ok()) return Invalid(param, absl::StrCat("`", param, "` at ", relaxed.status().message()));
      schema = std::move(relaxed->prepared);
      partial |= relaxed->partial;
    } else {
      schema = kAnyArguments;  // beside a strict tool; nothing was promised for this one
    }
    tools.push_back({tool.name, std::move(schema)});
  }
  const bool several = call.parallel_tool_calls && !named;
  if (answer != nullptr && !must) {
    if (chat::ToolMarkupOf(syntax).starts_bare) {
      return Invalid(
          kResponseFormat,
          "`response_format` cannot stand beside tools in this model's syntax: its calls are JSON themselves");
    }
    return CallGrammar{grammar::ToolOrAnswerSpec(*model.tokenizer, syntax, tools, several, answer->spec),
                       answer->param};
  }
  const grammar::ToolUse use = must ? grammar::ToolUse::kMust : grammar::ToolUse::kMay;
  return CallGrammar{grammar::ToolSpec(*model.tokenizer, syntax, tools, use, several, reasoning),
                     std::string(must ? "tool_choice" : "tools"), partial};
}

absl::Status CheckChoice(const ChatCall& call) {
  if (call.tool_choice == ToolChoice::kAuto) return absl::OkStatus();
  if (call.tools.empty()) return Invalid("tool_choice", "`tool_choice` asks for a tool call, but there are no `tools`");
  if (call.tool_choice != ToolChoice::kNamed) return absl::OkStatus();
  for (const chat::ChatTool& tool : call.tools) {
    if (tool.name == call.tool_name) return absl::OkStatus();
  }
  return Invalid("tool_choice", absl::StrCat("`tool_choice` names \"", base::View(base::Utf8Prefix(call.tool_name, 64)),
                                             "\", which is none of the `tools`"));
}

}  // namespace

absl::StatusOr<std::optional<CallGrammar>> GrammarOf(const ChatCall& call, const ServedModel& model, TextBegin begin,
                                                     const grammar::SchemaLimits& limits) {
  const bool formatted = call.options.response_format.kind != ResponseFormat::Kind::kText;
  const bool forced = call.tool_choice != ToolChoice::kAuto;
  if (absl::Status status = CheckChoice(call); !status.ok()) return status;
  if (!formatted && !forced && !AnyStrict(call)) return std::optional<CallGrammar>();
  const std::string_view param = formatted ? kResponseFormat : forced ? std::string_view("tool_choice") : "tools";
  if (!call.messages.empty() && call.messages.back().prefix) {
    return Invalid(
        param, absl::StrCat("`", base::View(param), "` cannot constrain an answer that continues a `prefix` message"));
  }
  const grammar::Reasoning reasoning = begin.in_reasoning         ? grammar::Reasoning::kOpen
                                       : begin.may_open_reasoning ? grammar::Reasoning::kMayOpen
                                                                  : grammar::Reasoning::kNone;
  std::optional<CallGrammar> answer;
  if (formatted) {
    absl::StatusOr<CallGrammar> format = FormatGrammar(call.options.response_format, reasoning, limits);
    if (!format.ok()) return format.status();
    answer = *std::move(format);
    if (call.tools.empty()) return answer;
  }
  absl::StatusOr<CallGrammar> tools =
      ToolGrammar(call, model, reasoning, limits, answer.has_value() ? &*answer : nullptr);
  if (!tools.ok()) return tools.status();
  return std::optional<CallGrammar>(*std::move(tools));
}

absl::StatusOr<std::optional<CallGrammar>> GrammarOf(const GenerateCall& call, const ServedModel& model,
                                                     const grammar::SchemaLimits& limits) {
  if (call.options.response_format.kind == ResponseFormat::Kind::kText) return std::optional<CallGrammar>();
  if (call.suffix.has_value()) return Invalid(kResponseFormat, "`response_format` cannot stand beside `suffix`");
  absl::StatusOr<CallGrammar> grammar = FormatGrammar(call.options.response_format, grammar::Reasoning::kNone, limits);
  if (!grammar.ok()) return grammar.status();
  return std::optional<CallGrammar>(*std::move(grammar));
}

}  // namespace hadal::service
