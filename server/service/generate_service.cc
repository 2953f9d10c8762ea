// SPDX-License-Identifier: Apache-2.0
#include "server/service/generate_service.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "models/chat/fim.h"
#include "server/base/log.h"
#include "server/base/strings.h"
#include "server/service/limits.h"

namespace hadal::service {
namespace {

using request::MakeError;
using request::Reason;

uint64_t RandomBits() {
  thread_local std::mt19937_64 generator{std::random_device{}() ^ (uint64_t{std::random_device{}()} << 32)};
  return generator();
}

// Prefix blocks are shared inside one (tenant, user, salt) only; 0 when the caller named none of them.
uint64_t CacheSalt(const CallOptions& options) {
  if (options.tenant.empty() && options.user.empty() && options.cache_salt.empty()) return 0;
  static const uint64_t process_key = RandomBits();
  return absl::HashOf(process_key, options.tenant, options.user, options.cache_salt) | 1;
}

// The tokenizer's and the template's own errors are the caller's.
absl::Status AsInvalid(const absl::Status& status, std::string_view param) {
  if (status.code() == absl::StatusCode::kInvalidArgument) {
    return MakeError(Reason::kInvalidRequest, base::StdView(status.message()), param);
  }
  return MakeError(Reason::kInternal, base::StdView(status.message()));
}

absl::Status CheckTokenIds(absl::Span<const int32_t> ids, int32_t vocab_size, std::string_view param) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab_size) {
      return MakeError(Reason::kInvalidRequest,
                       absl::StrCat("`", base::View(param), "` holds the token id ", ids[i], " at position ", i,
                                    "; the model's ids are 0 to ", vocab_size - 1),
                       param);
    }
  }
  return absl::OkStatus();
}

models::SamplingParams ResolveSampling(const SamplingOptions& options, const GenerationDefaults& defaults) {
  models::SamplingParams params;
  params.temperature = options.temperature.value_or(defaults.temperature.value_or(1.0f));
  params.top_p = options.top_p.value_or(defaults.top_p.value_or(1.0f));
  params.top_k = std::max(options.top_k.value_or(defaults.top_k.value_or(0)), 0);
  params.min_p = options.min_p.value_or(0.0f);
  params.repetition_penalty = options.repetition_penalty.value_or(defaults.repetition_penalty.value_or(1.0f));
  params.frequency_penalty = options.frequency_penalty.value_or(0.0f);
  params.presence_penalty = options.presence_penalty.value_or(0.0f);
  params.seed = options.seed.has_value() ? *options.seed : RandomBits();
  params.logit_bias = options.logit_bias;
  return params;
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
                     absl::StrCat("the model \"", model.name, "\" has no tools: its chat template ",
                                  base::View(chat::ChatStyleName(model.chat_template->style())), " knows none"),
                     "tools");
  }
  absl::StatusOr<chat::Prompt> prompt = model.chat_template->Render(messages, options);
  if (!prompt.ok()) return AsInvalid(prompt.status(), "messages");
  return prompt;
}

GrammarService::Options WithMetrics(GrammarService::Options options, base::MetricRegistry* metrics) {
  options.metrics = metrics;
  return options;
}

// A grammar is shared by calls that asked for it in different fields.
absl::Status ForParam(const absl::Status& status, const std::string& param) {
  const request::ErrorDetail detail = request::GetErrorDetail(status);
  if (detail.retry_after.has_value()) return status;
  return MakeError(detail.reason, absl::StrCat("`", param, "`: ", status.message()), param);
}

}  // namespace

std::string_view OutcomeOf(const absl::Status& status) {
  if (status.ok()) return "ok";
  const Reason reason = request::GetErrorDetail(status).reason;
  if (reason == Reason::kCancelled || reason == Reason::kSlowReader) return "cancelled";
  const request::WireError& wire = request::WireErrorFor(reason);
  if (wire.capacity || reason == Reason::kTenantQuota || wire.http_status == 503) return "shed";
  return wire.http_status >= 500 ? "error" : "invalid";
}

GenerateService::GenerateService(Options options)
    : options_(std::move(options)),
      metrics_(options_.metrics),
      workers_(options_.worker_threads, options_.max_worker_jobs),
      grammars_(WithMetrics(options_.grammars, options_.metrics)) {}

GenerateService::~GenerateService() { workers_.Stop(); }

absl::StatusOr<admission::Ticket> GenerateService::Admit(const admission::AdmissionRequest& arrival) {
  return options_.admission->TryAdmit(arrival);
}

absl::StatusOr<std::unique_ptr<PreparedCall>> GenerateService::Prepare(ChatCall call) {
  if (absl::Status status = Validate(call); !status.ok()) return status;
  absl::StatusOr<ModelTable::Entry> entry = options_.models->Find(call.options.model);
  if (!entry.ok()) return entry.status();
  const ServedModel& model = *entry->model;

  chat::ChatOptions options;
  options.thinking = call.thinking.value_or(entry->thinking.value_or(options.thinking));
  options.reasoning_effort = call.reasoning_effort;
  options.tools = call.tools;
  options.response_schema_json = call.options.response_format.schema_json;
  absl::StatusOr<chat::Prompt> rendered = RenderChat(model, call.messages, options);
  if (!rendered.ok()) return rendered.status();
  absl::StatusOr<std::vector<int32_t>> ids = chat::EncodePrompt(*model.tokenizer, *rendered);
  if (!ids.ok()) return AsInvalid(ids.status(), "messages");

  auto prepared = std::make_unique<PreparedCall>();
  const TextBegin begin{.in_reasoning = rendered->reasoning_starts_open,
                        .may_open_reasoning = model.chat_template->has_reasoning() &&
                                              !(model.chat_template->has_thinking_switch() && !options.thinking)};
  if (absl::Status s = Compile(GrammarOf(call, model, begin, grammars_.options().limits), prepared.get(), model);
      !s.ok()) {
    return s;
  }
  prepared->prompt_ = *std::move(ids);
  prepared->prompt_param_ = "messages";
  prepared->chat_ = true;
  prepared->reasoning_ = model.chat_template->has_reasoning();
  prepared->parser_.starts_in_reasoning = rendered->reasoning_starts_open;
  prepared->parser_.split_reasoning = prepared->reasoning_;
  if (!options.tools.empty()) prepared->parser_.tool_syntax = model.chat_template->tool_syntax();
  prepared->options_ = std::move(call.options);
  prepared->model_ = std::move(entry->model);
  return prepared;
}

absl::StatusOr<std::unique_ptr<PreparedCall>> GenerateService::Prepare(GenerateCall call) {
  if (absl::Status status = Validate(call); !status.ok()) return status;
  absl::StatusOr<ModelTable::Entry> entry = options_.models->Find(call.options.model);
  if (!entry.ok()) return entry.status();
  const tokenizer::Tokenizer& tokenizer = *entry->model->tokenizer;

  auto prepared = std::make_unique<PreparedCall>();
  const ServedModel& model = *entry->model;
  if (absl::Status s = Compile(GrammarOf(call, model, grammars_.options().limits), prepared.get(), model); !s.ok())
    return s;
  prepared->model_ = entry->model;
  prepared->prompt_param_ = "prompt";
  if (auto* ids = std::get_if<std::vector<int32_t>>(&call.prompt)) {
    prepared->prompt_ = std::move(*ids);
  } else {
    const std::string& text = std::get<std::string>(call.prompt);
    absl::StatusOr<std::vector<int32_t>> encoded =
        call.suffix.has_value()
            ? chat::EncodeFim(tokenizer, text, *call.suffix)
            : tokenizer.Encode(text, {.add_special_tokens = true, .allow_added_tokens = call.parse_special_tokens});
    if (!encoded.ok()) return AsInvalid(encoded.status(), call.suffix.has_value() ? "suffix" : "prompt");
    prepared->prompt_ = *std::move(encoded);
  }
  prepared->options_ = std::move(call.options);
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
  call->grammar_ = grammars_.Get(model.name, *model.grammar_compiler, std::move((*wanted)->spec));
  call->grammar_param_ = std::move((*wanted)->param);
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

absl::StatusOr<std::unique_ptr<ActiveCall>> GenerateService::Start(std::unique_ptr<PreparedCall> call,
                                                                   admission::Ticket ticket,
                                                                   std::shared_ptr<request::Notifier> notifier) {
  PreparedCall& prepared = *call;
  CallOptions& options = prepared.options_;
  const ServedModel& model = *prepared.model_;
  if (prepared.prompt_.empty()) {
    return MakeError(Reason::kInvalidRequest,
                     absl::StrCat("`", base::View(prepared.prompt_param_), "` is empty: there is no token"),
                     prepared.prompt_param_);
  }
  if (absl::Status status = CheckTokenIds(prepared.prompt_, model.info.vocab_size, prepared.prompt_param_);
      !status.ok()) {
    return status;
  }
  if (absl::Status status = CheckTokenIds(options.stopping.stop_token_ids, model.info.vocab_size, "stop_token_ids");
      !status.ok()) {
    return status;
  }
  for (const auto& [token, bias] : options.sampling.logit_bias) {
    if (absl::Status status = CheckTokenIds({token}, model.info.vocab_size, "logit_bias"); !status.ok()) return status;
  }

  const int64_t prompt_tokens = static_cast<int64_t>(prepared.prompt_.size());
  const int64_t context = model.info.max_model_len;
  const int64_t left = context - prompt_tokens;
  const int64_t asked = options.stopping.max_tokens.value_or(1);
  if (asked > left) {
    std::string message = absl::StrCat("This model's maximum context length is ", context, " tokens. ");
    if (options.stopping.max_tokens.has_value()) {
      absl::StrAppend(&message, "However, you requested ", prompt_tokens + asked, " tokens (", prompt_tokens,
                      " in the ", base::View(prepared.prompt_param_), ", ", asked,
                      " in the completion). Please reduce the length of the ", base::View(prepared.prompt_param_),
                      " or completion.");
    } else {
      absl::StrAppend(&message, "However, your ", base::View(prepared.prompt_param_), " resulted in ", prompt_tokens,
                      " tokens. Please reduce the length of the ", base::View(prepared.prompt_param_), ".");
    }
    return MakeError(Reason::kContextLengthExceeded, message, prepared.prompt_param_);
  }

  auto request = std::make_unique<request::Request>();
  request->id = options.request_id;
  request->tenant = options.tenant;
  request->priority = options.priority;
  request->cache_salt = CacheSalt(options);
  request->arrival = options.arrival;
  request->deadline = options.deadline;
  request->sampling = ResolveSampling(options.sampling, model.defaults);
  request->n = options.n;
  request->max_tokens = static_cast<int32_t>(options.stopping.max_tokens.value_or(left));
  request->min_tokens = std::min(options.stopping.min_tokens, request->max_tokens);
  request->ignore_eos = options.stopping.ignore_eos;
  request->stop_token_ids = options.stopping.stop_token_ids;
  if (!request->ignore_eos) {
    const std::vector<int32_t>& eos_ids = model.tokenizer->eos_ids();
    request->stop_token_ids.insert(request->stop_token_ids.end(), eos_ids.begin(), eos_ids.end());
  }
  request->top_logprobs = options.top_logprobs.value_or(-1);
  request->prompt_logprobs = options.prompt_logprobs;
  if (prepared.grammar_ != nullptr) {
    PendingGrammar::Result grammar = prepared.grammar_->Wait();
    if (!grammar.ok()) return ForParam(grammar.status(), prepared.grammar_param_);
    request->grammar = *std::move(grammar);
  }
  request->stream = std::make_shared<request::TokenStream>(options_.stream_capacity_tokens, std::move(notifier));

  ActiveCall::Options active;
  active.model = prepared.model_;
  active.request_id = std::move(options.request_id);
  active.stream = request->stream;
  active.n = options.n;
  active.reasoning = prepared.reasoning_;
  if (!options.stopping.stop.empty()) active.stop = std::make_shared<const StopStrings>(options.stopping.stop);
  active.text.skip_special_tokens = options.skip_special_tokens;
  active.text.parse = prepared.chat_;
  active.text.parser = prepared.parser_;
  active.text.token_ids = options.return_token_ids;
  active.text.logprobs = options.top_logprobs.has_value();
  if (prepared.chat_) {
    for (std::string_view marker : chat::ParserMarkers()) {
      if (std::optional<int32_t> id = model.tokenizer->TokenId(marker)) active.text.kept_special_tokens.push_back(*id);
    }
    std::sort(active.text.kept_special_tokens.begin(), active.text.kept_special_tokens.end());
    if (prepared.parser_.tool_syntax != chat::ToolSyntax::kNone) {
      active.text.tool_call_id_prefix = absl::StrFormat("call_%016x", RandomBits());
    }
  }
  request->prompt = prepared.prompt_;
  active.prompt_token_ids = std::move(prepared.prompt_);

  if (absl::Status status = ticket.Finalize(*request, model.model_index); !status.ok()) return status;
  auto started = std::make_unique<ActiveCall>(std::move(active));
  if (absl::Status status = options_.admission->Enqueue(model.model_index, std::move(request), std::move(ticket));
      !status.ok()) {
    return status;
  }
  return started;
}

absl::StatusOr<TokenizeResult> GenerateService::Tokenize(const TokenizeCall& call) const {
  absl::StatusOr<ModelTable::Entry> entry = options_.models->Find(call.model);
  if (!entry.ok()) return entry.status();
  const ServedModel& model = *entry->model;
  absl::StatusOr<std::vector<int32_t>> ids;
  if (call.messages.empty()) {
    ids = model.tokenizer->Encode(call.text, {.add_special_tokens = call.add_special_tokens});
    if (!ids.ok()) return AsInvalid(ids.status(), "prompt");
  } else {
    ChatCall chat;
    chat.messages = call.messages;
    chat.tools = call.tools;
    if (absl::Status status = Validate(chat); !status.ok()) return status;
    chat::ChatOptions options;
    options.thinking = call.thinking.value_or(entry->thinking.value_or(options.thinking));
    options.add_generation_prompt = call.add_generation_prompt;
    options.tools = call.tools;
    absl::StatusOr<chat::Prompt> rendered = RenderChat(model, call.messages, options);
    if (!rendered.ok()) return rendered.status();
    ids = chat::EncodePrompt(*model.tokenizer, *rendered);
    if (!ids.ok()) return AsInvalid(ids.status(), "messages");
  }
  TokenizeResult result;
  result.token_ids = *std::move(ids);
  result.model = std::move(entry->model);
  return result;
}

absl::StatusOr<std::string> GenerateService::Detokenize(std::string_view model, absl::Span<const int32_t> token_ids,
                                                        bool skip_special_tokens) const {
  absl::StatusOr<ModelTable::Entry> entry = options_.models->Find(model);
  if (!entry.ok()) return entry.status();
  if (absl::Status status = CheckTokenIds(token_ids, entry->model->info.vocab_size, "tokens"); !status.ok())
    return status;
  return entry->model->tokenizer->Decode(token_ids, skip_special_tokens);
}

Load GenerateService::GetLoad() const { return options_.load ? options_.load() : Load{}; }

void GenerateService::Record(const CallRecord& record) {
  const std::string code = record.http_status > 0 ? std::to_string(record.http_status) : "";
  const std::string grpc_code = record.grpc_code >= 0 ? std::to_string(record.grpc_code) : "";
  const std::string reason(record.reason == Reason::kNone ? "" : request::ReasonName(record.reason));
  const std::string priority(request::kPriorityNames[static_cast<size_t>(record.priority)]);
  metrics_.requests.With({std::string(record.route), priority, code, grpc_code, std::string(record.outcome), reason})
      .Increment();
  if (record.usage.tool_calls > 0) metrics_.tool_calls.At(CallMetrics::kGiven).Increment(record.usage.tool_calls);
  if (record.usage.broken_tool_blocks > 0) {
    metrics_.tool_calls.At(CallMetrics::kMalformed).Increment(record.usage.broken_tool_blocks);
  }
  if (base::LogEnabled(base::LogLevel::kDebug)) {
    base::Log(base::LogLevel::kDebug, record.protocol, record.route,
              {{"request_id", std::string_view(record.request_id)},
               {"outcome", record.outcome},
               {"code", std::string_view(record.http_status > 0 ? code : grpc_code)},
               {"reason", std::string_view(reason)},
               {"prompt_tokens", int64_t{record.usage.prompt_tokens}},
               {"completion_tokens", int64_t{record.usage.completion_tokens}},
               {"tool_calls", int64_t{record.usage.tool_calls}},
               {"malformed_tool_calls", int64_t{record.usage.broken_tool_blocks}},
               {"duration_ms", absl::ToDoubleMilliseconds(record.duration)}});
  }
}

}  // namespace hadal::service
