// SPDX-License-Identifier: Apache-2.0
#include "server/service/generate_service.h"

#include <algorithm>
#include <atomic>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "models/chat/fim.h"
#include "server/base/strings.h"
#include "server/request/retry_spread.h"
#include "server/service/call_key.h"
#include "server/service/limits.h"

namespace hadal::service {
namespace {

using request::MakeError;
using request::Reason;

// The tokenizer's and the template's own errors are the caller's.
absl::Status AsInvalid(const absl::Status& status, const ServedModel& model, std::string_view param) {
  if (status.code() == absl::StatusCode::kOutOfRange) {
    return ContextExceeded(model, param, absl::StrCat("resulted in more than ", model.info.max_model_len, " tokens"));
  }
  if (status.code() == absl::StatusCode::kInvalidArgument) {
    return MakeError(Reason::kInvalidRequest, base::StdView(status.message()), param);
  }
  return MakeError(Reason::kInternal, base::StdView(status.message()));
}

size_t TextBytes(const chat::Prompt& prompt) {
  size_t bytes = 0;
  for (const chat::Prompt::Piece& piece : prompt.pieces) bytes += piece.text.size();
  return bytes;
}

// Tokenises a text that must fit into the model's context, and ends as soon as it does not.
absl::StatusOr<std::vector<int32_t>> EncodeChat(const ServedModel& model, const chat::Prompt& prompt) {
  if (absl::Status status = CheckTextFits(model, TextBytes(prompt), "messages"); !status.ok()) return status;
  absl::StatusOr<std::vector<int32_t>> ids =
      chat::EncodePrompt(*model.tokenizer, prompt, static_cast<size_t>(model.info.max_model_len));
  if (!ids.ok()) return AsInvalid(ids.status(), model, "messages");
  return ids;
}

absl::StatusOr<std::vector<int32_t>> EncodeText(const ServedModel& model, const GenerateCall& call,
                                                bool parse_special_tokens) {
  const std::string& text = std::get<std::string>(call.prompt);
  const size_t max_tokens = static_cast<size_t>(model.info.max_model_len);
  const std::string_view param = call.suffix.has_value() ? "suffix" : "prompt";
  const size_t bytes = text.size() + (call.suffix.has_value() ? call.suffix->size() : 0);
  if (absl::Status status = CheckTextFits(model, bytes, param); !status.ok()) return status;
  absl::StatusOr<std::vector<int32_t>> ids =
      call.suffix.has_value() ? chat::EncodeFim(*model.tokenizer, text, *call.suffix, max_tokens)
                              : model.tokenizer->Encode(text, {.add_special_tokens = call.add_special_tokens,
                                                               .allow_added_tokens = parse_special_tokens,
                                                               .max_tokens = max_tokens});
  if (!ids.ok()) return AsInvalid(ids.status(), model, param);
  return ids;
}

// What is only tokenised, or made of tokens, may be longer than the context, within limits.h.
size_t MaxTextBytes(const ServedModel& model) {
  return std::max(kMaxTokenizeBytes,
                  kMaxTokenizeBytesPerContextToken * static_cast<size_t>(std::max(model.info.max_model_len, 0)));
}

// A token takes a byte or two in a request and may stand for many.
absl::Status CheckDetokenizable(const ServedModel& model, absl::Span<const int32_t> token_ids) {
  const size_t limit = MaxTextBytes(model);
  size_t bytes = 0;
  for (size_t i = 0; i < token_ids.size() && bytes <= limit; ++i)
    bytes += model.tokenizer->TokenBytes(token_ids[i]).size();
  if (bytes <= limit && token_ids.size() <= limit) return absl::OkStatus();
  return MakeError(Reason::kInvalidRequest,
                   absl::StrCat("`tokens` holds ", token_ids.size(), " ids; the text of one call has at most ", limit,
                                " bytes, and as many tokens"),
                   "tokens");
}

absl::Status CheckTokenizable(const ServedModel& model, size_t text_bytes, std::string_view param) {
  const size_t limit = MaxTextBytes(model);
  if (text_bytes <= limit) return absl::OkStatus();
  return MakeError(Reason::kInvalidRequest,
                   absl::StrCat("`", base::View(param), "` came to ", text_bytes, " bytes; at most ", limit,
                                " can be tokenised in one call"),
                   param);
}

// `alias_thinking`: what the model's name says of thinking, where the call says nothing.
chat::ChatOptions OptionsOf(const ChatCall& call, std::optional<bool> alias_thinking) {
  const std::optional<bool> thinking = call.thinking.has_value() ? call.thinking : alias_thinking;
  chat::ChatOptions options;
  options.thinking_given = thinking.has_value();
  options.thinking = thinking.value_or(options.thinking);
  options.template_arguments_json = call.template_arguments_json;
  options.documents_json = call.documents_json;
  options.reasoning_effort = call.reasoning_effort;
  options.tools = call.tools;
  options.response_schema_json = call.options.response_format.schema_json;
  return options;
}

absl::StatusOr<chat::Prompt> RenderChat(const ServedModel& model, absl::Span<const chat::ChatMessage> messages,
                                        const chat::ChatOptions& options) {
  if (!model.chat_template.ok()) {
    return MakeError(Reason::kInvalidRequest,
                     absl::StrCat("the model \"", model.name, "\" cannot chat (",
                                  model.chat_template.status().message(), "); use plain completions"),
                     "messages");
  }
  if (!options.tools.empty() && model.chat_template->tool_syntax() == chat::ToolSyntax::kNone) {
    return MakeError(Reason::kInvalidRequest,
                     absl::StrCat("the model \"", model.name, "\" has no tools: its chat template (",
                                  base::View(chat::ChatStyleName(model.chat_template->style())),
                                  ") knows none, or writes calls in a form that no tool parser reads"),
                     "tools");
  }
  absl::StatusOr<chat::Prompt> prompt = model.chat_template->Render(messages, options);
  if (!prompt.ok()) return AsInvalid(prompt.status(), model, "messages");
  return prompt;
}

// How the reasoning of a chat is ended, as its parser sees it.
absl::StatusOr<grammar::ThinkingLimit::Options> LimitOf(const ChatCall& call, const ServedModel& model,
                                                        const chat::OutputParser::Options& parser) {
  absl::StatusOr<std::vector<int32_t>> closing =
      model.tokenizer->Encode(model.chat_template->early_thinking_end(), {.allow_added_tokens = true});
  if (!closing.ok()) return closing.status();
  return grammar::ThinkingLimit::Options{
      .tokenizer = model.tokenizer,
      .parser = parser,
      .vocab_size = model.info.vocab_size,
      .max_tokens = call.max_thinking_tokens.value_or(grammar::ThinkingLimit::kNoLimit),
      .closing = *std::move(closing),
      .cuts = std::make_shared<std::atomic<int32_t>>(0)};
}

template <typename PartOptions>
PartOptions WithMetrics(PartOptions options, base::MetricRegistry* metrics) {
  options.metrics = metrics;
  return options;
}

}  // namespace

absl::Status WorkersBusy() {
  return request::MakeBusy(Reason::kWorkerQueueFull, "all workers are taken", request::SpreadOut(absl::Seconds(1)));
}

GenerateService::GenerateService(Options options)
    : options_(std::move(options)),
      metrics_(options_.metrics),
      degradation_(WithMetrics(options_.degradation, options_.metrics), options_.response_cache),
      bodies_(WithMetrics(options_.bodies, options_.metrics)),
      workers_(options_.worker_threads, options_.max_worker_jobs),
      grammars_(WithMetrics(options_.grammars, options_.metrics)) {}

GenerateService::~GenerateService() { workers_.Stop(); }

absl::Status GenerateService::CheckRoom(const admission::AdmissionRequest& arrival) {
  return options_.admission->CheckRoom(arrival);
}

absl::Status GenerateService::CheckState(const admission::AdmissionRequest& arrival) {
  return options_.admission->CheckState(arrival);
}

absl::Status GenerateService::EndedBy(request::Reason reason) { return options_.admission->EndedBy(reason); }

absl::StatusOr<admission::Ticket> GenerateService::Admit(const admission::AdmissionRequest& arrival) {
  absl::StatusOr<admission::Ticket> ticket = options_.admission->TryAdmit(arrival);
  if (ticket.ok() && arrival.priority != request::Priority::kBatch) {
    urgent_at_us_.store(absl::ToUnixMicros(clock().Now()), std::memory_order_relaxed);
  }
  return ticket;
}

absl::StatusOr<std::unique_ptr<PreparedCall>> GenerateService::Prepare(ChatCall call) {
  return PrepareWithOriginal(std::move(call));
}

absl::StatusOr<std::unique_ptr<PreparedCall>> GenerateService::Prepare(GenerateCall call) {
  return PrepareWithOriginal(std::move(call));
}

template <typename Call>
absl::StatusOr<std::unique_ptr<PreparedCall>> GenerateService::PrepareWithOriginal(Call call) {
  constexpr bool kChat = std::is_same_v<Call, ChatCall>;
  const auto prepare = [this](Call plain) {
    if constexpr (kChat) {
      return PrepareChat(std::move(plain));
    } else {
      return PrepareGenerate(std::move(plain));
    }
  };
  const bool keep_original = call.options.allow_degraded && (!degradation_.fallback_model().empty() ||
                                                             degradation_.MayLowerEffort(call.options.priority));
  absl::StatusOr<std::unique_ptr<PreparedCall>> prepared = keep_original ? prepare(call) : prepare(std::move(call));
  if (prepared.ok()) OpenLookup(prepared->get());
  if (keep_original && prepared.ok()) (*prepared)->original = std::move(call);
  return prepared;
}

absl::StatusOr<std::unique_ptr<PreparedCall>> GenerateService::PrepareChat(ChatCall call, Grammars grammars) {
  if (absl::Status status = Validate(call); !status.ok()) return status;
  absl::StatusOr<ModelTable::Entry> entry = options_.models->Find(call.options.model);
  if (!entry.ok()) return entry.status();
  const ServedModel& model = *entry->model;

  const chat::ChatOptions options = OptionsOf(call, entry->thinking);
  absl::StatusOr<chat::Prompt> rendered = RenderChat(model, call.messages, options);
  if (!rendered.ok()) return rendered.status();
  absl::StatusOr<std::vector<int32_t>> ids = EncodeChat(model, *rendered);
  if (!ids.ok()) return ids.status();

  auto prepared = std::make_unique<PreparedCall>();
  const TextBegin begin{.in_reasoning = rendered->reasoning_starts_open,
                        .may_open_reasoning = model.chat_template->has_reasoning() &&
                                              !(model.chat_template->has_thinking_switch() && !options.thinking)};
  if (grammars == Grammars::kCompile) {
    const absl::Status compiled =
        Compile(GrammarOf(call, model, begin, grammars_.options().limits), prepared.get(), model);
    if (!compiled.ok()) return compiled;
  }
  prepared->prompt = *std::move(ids);
  prepared->prompt_param = "messages";
  prepared->chat = true;
  prepared->reasoning = model.chat_template->has_reasoning();
  prepared->thinking = begin.in_reasoning || begin.may_open_reasoning;
  prepared->parser.starts_in_reasoning = rendered->reasoning_starts_open;
  prepared->parser.continues_reasoning =
      rendered->reasoning_starts_open && call.messages.back().prefix && !call.messages.back().reasoning_content.empty();
  prepared->parser.split_reasoning = prepared->reasoning;
  if (!options.tools.empty()) {
    prepared->parser.tool_syntax = model.chat_template->tool_syntax();
    if (prepared->parser.tool_syntax == chat::ToolSyntax::kQwenXml) {
      prepared->parameter_types = std::make_shared<const chat::ParameterTypes>(options.tools);
      prepared->parser.parameter_types = prepared->parameter_types.get();
    }
  }
  if ((call.max_thinking_tokens.has_value() || call.reasoning_control) && prepared->thinking) {
    absl::StatusOr<grammar::ThinkingLimit::Options> limit = LimitOf(call, model, prepared->parser);
    if (!limit.ok()) return AsInvalid(limit.status(), model, "max_thinking_tokens");
    prepared->thinking_limit = *std::move(limit);
    if (call.reasoning_control) {
      prepared->thinking_switch = std::make_shared<ThinkingSwitch>();
      prepared->thinking_limit->end_now = {prepared->thinking_switch, &prepared->thinking_switch->end_now};
    }
  }
  prepared->options = std::move(call.options);
  prepared->model = std::move(entry->model);
  return prepared;
}

absl::StatusOr<std::unique_ptr<PreparedCall>> GenerateService::PrepareGenerate(GenerateCall call, Grammars grammars) {
  if (absl::Status status = Validate(call); !status.ok()) return status;
  absl::StatusOr<ModelTable::Entry> entry = options_.models->Find(call.options.model);
  if (!entry.ok()) return entry.status();

  auto prepared = std::make_unique<PreparedCall>();
  const ServedModel& model = *entry->model;
  if (grammars == Grammars::kCompile) {
    const absl::Status compiled = Compile(GrammarOf(call, model, grammars_.options().limits), prepared.get(), model);
    if (!compiled.ok()) return compiled;
  }
  prepared->model = entry->model;
  prepared->prompt_param = "prompt";
  if (auto* ids = std::get_if<std::vector<int32_t>>(&call.prompt)) {
    prepared->prompt = std::move(*ids);
  } else {
    absl::StatusOr<std::vector<int32_t>> encoded =
        EncodeText(model, call, call.parse_special_tokens.value_or(options_.parse_special_tokens));
    if (!encoded.ok()) return encoded.status();
    prepared->prompt = *std::move(encoded);
  }
  prepared->options = std::move(call.options);
  return prepared;
}

absl::Status GenerateService::Compile(absl::StatusOr<std::optional<CallGrammar>> wanted, PreparedCall* call,
                                      const ServedModel& model) {
  if (!wanted.ok()) {
    grammars_.CountRefused();
    return wanted.status();
  }
  if (!wanted->has_value()) return absl::OkStatus();
  if (!model.grammar_compiler.ok()) {
    return MakeError(Reason::kUnsupported,
                     absl::StrCat("the model \"", model.name,
                                  "\" cannot follow a grammar: ", model.grammar_compiler.status().message()),
                     (*wanted)->param);
  }
  call->grammar_text = (*wanted)->spec.Key();
  call->grammar = grammars_.Get(model.name, *model.grammar_compiler, std::move((*wanted)->spec), call->options.sender);
  call->grammar_param = std::move((*wanted)->param);
  call->partial_grammar = (*wanted)->partial;
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<ActiveCall>> GenerateService::StartChat(ChatCall call, admission::Ticket ticket) {
  absl::StatusOr<std::unique_ptr<PreparedCall>> prepared = Prepare(std::move(call));
  if (!prepared.ok()) return prepared.status();
  return Start(*std::move(prepared), std::move(ticket));
}

absl::StatusOr<std::unique_ptr<ActiveCall>> GenerateService::StartGenerate(GenerateCall call,
                                                                           admission::Ticket ticket) {
  absl::StatusOr<std::unique_ptr<PreparedCall>> prepared = Prepare(std::move(call));
  if (!prepared.ok()) return prepared.status();
  return Start(*std::move(prepared), std::move(ticket));
}

absl::StatusOr<TokenizeResult> GenerateService::Tokenize(const TokenizeCall& call) const {
  if (!call.messages.empty()) {
    ChatCall chat;
    chat.options.model = call.model;
    chat.messages = call.messages;
    chat.tools = call.tools;
    chat.thinking = call.thinking;
    chat.template_arguments_json = call.template_arguments_json;
    chat.documents_json = call.documents_json;
    return TokenizeChat(chat, call.add_generation_prompt);
  }
  absl::StatusOr<ModelTable::Entry> entry = options_.models->Find(call.model);
  if (!entry.ok()) return entry.status();
  const ServedModel& model = *entry->model;
  if (absl::Status status = CheckTokenizable(model, call.text.size(), "prompt"); !status.ok()) return status;
  absl::StatusOr<std::vector<int32_t>> ids = model.tokenizer->Encode(
      call.text, {.add_special_tokens = call.add_special_tokens,
                  .allow_added_tokens = call.parse_special_tokens.value_or(options_.parse_special_tokens)});
  if (!ids.ok()) return AsInvalid(ids.status(), model, "prompt");
  return TokenizeResult{*std::move(ids), std::move(entry->model)};
}

absl::StatusOr<TokenizeResult> GenerateService::TokenizeChat(const ChatCall& call, bool add_generation_prompt) const {
  absl::StatusOr<ModelTable::Entry> entry = options_.models->Find(call.options.model);
  if (!entry.ok()) return entry.status();
  const ServedModel& model = *entry->model;
  if (absl::Status status = Validate(call); !status.ok()) return status;
  chat::ChatOptions options = OptionsOf(call, entry->thinking);
  options.add_generation_prompt = add_generation_prompt;
  absl::StatusOr<chat::Prompt> rendered = RenderChat(model, call.messages, options);
  if (!rendered.ok()) return rendered.status();
  if (absl::Status status = CheckTokenizable(model, TextBytes(*rendered), "messages"); !status.ok()) return status;
  absl::StatusOr<std::vector<int32_t>> ids = chat::EncodePrompt(*model.tokenizer, *rendered);
  if (!ids.ok()) return AsInvalid(ids.status(), model, "messages");
  return TokenizeResult{*std::move(ids), std::move(entry->model)};
}

absl::StatusOr<std::string> GenerateService::Detokenize(std::string_view model, absl::Span<const int32_t> token_ids,
                                                        bool skip_special_tokens) const {
  absl::StatusOr<ModelTable::Entry> entry = options_.models->Find(model);
  if (!entry.ok()) return entry.status();
  if (absl::Status status = CheckTokenIds(token_ids, entry->model->info.vocab_size, "tokens"); !status.ok())
    return status;
  if (absl::Status status = CheckDetokenizable(*entry->model, token_ids); !status.ok()) return status;
  return entry->model->tokenizer->Decode(token_ids, skip_special_tokens);
}

Load GenerateService::GetLoad() const { return options_.load ? options_.load() : Load{}; }

LoadReport GenerateService::GetLoadReport() const {
  const absl::Time now = options_.clock->Now();
  return MakeLoadReport(GetLoad(), served_.PerSecond(now), failed_.PerSecond(now));
}

TraceContext GenerateService::OpenTrace(std::string_view traceparent, std::string_view tracestate) const {
  TraceContext context = ParseTraceContext(traceparent, tracestate);
  if (options_.tracer != nullptr) options_.tracer->Begin(&context);
  return context;
}

void GenerateService::Record(const CallInfo& info, CallOutcome outcome) {
  const absl::Time now = options_.clock->Now();
  outcome.duration = now - info.arrival;
  RecordCall(info, outcome, &metrics_);
  const std::string_view label = OutcomeOf(outcome.status);
  if (label == "ok") served_.Add(now);
  if (label == "error" || label == "shed") failed_.Add(now);
  if (options_.access_log != nullptr) options_.access_log->Write(info, outcome, absl::Now());
  if (options_.tracer != nullptr) options_.tracer->End(info, outcome, now, absl::Now());
}

}  // namespace hadal::service
