// SPDX-License-Identifier: Apache-2.0
#include "server/service/prepared_call.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/base/strings.h"
#include "server/request/refusal.h"

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

models::SamplingParams ResolveSampling(const SamplingOptions& options, const GenerationDefaults& defaults) {
  models::SamplingParams params;
  params.temperature = options.temperature.value_or(defaults.temperature.value_or(1.0f));
  params.top_p = options.top_p.value_or(defaults.top_p.value_or(1.0f));
  params.top_k = std::max(options.top_k.value_or(defaults.top_k.value_or(0)), 0);
  params.min_p = options.min_p.value_or(defaults.min_p.value_or(0.0f));
  params.repetition_penalty = options.repetition_penalty.value_or(defaults.repetition_penalty.value_or(1.0f));
  params.frequency_penalty = options.frequency_penalty.value_or(0.0f);
  params.presence_penalty = options.presence_penalty.value_or(0.0f);
  params.seed = options.seed.has_value() ? *options.seed : RandomBits();
  params.logit_bias = options.logit_bias;
  // Of a nucleus of no mass only the most probable token is left.
  if (params.top_p == 0.0f) {
    params.temperature = 0.0f;
    params.top_p = 1.0f;
  }
  return params;
}

// A grammar is shared by calls that asked for it in different fields.
absl::Status ForParam(const absl::Status& status, const std::string& param) {
  const request::ErrorDetail detail = request::GetErrorDetail(status);
  if (detail.retry_after.has_value()) return status;
  return MakeError(detail.reason, absl::StrCat("`", param, "`: ", status.message()), param);
}

int64_t ContextLeft(const PreparedCall& call) {
  return call.model->info.max_model_len - static_cast<int64_t>(call.prompt.size());
}

absl::Status CheckLength(const PreparedCall& call) {
  std::optional<int32_t> max_tokens = call.options.stopping.max_tokens;
  if (call.options.stopping.cap_max_tokens && max_tokens > 1) max_tokens.reset();  // as if it had been left out
  const int64_t asked = max_tokens.value_or(1);
  if (asked <= ContextLeft(call)) return absl::OkStatus();
  const int64_t prompt_tokens = static_cast<int64_t>(call.prompt.size());
  const absl::string_view param = base::View(call.prompt_param);
  std::string message =
      absl::StrCat("This model's maximum context length is ", call.model->info.max_model_len, " tokens. ");
  if (max_tokens.has_value()) {
    absl::StrAppend(&message, "However, you requested ", prompt_tokens + asked, " tokens (", prompt_tokens, " in the ",
                    param, ", ", asked, " in the completion). Please reduce the length of the ", param,
                    " or completion.");
  } else {
    absl::StrAppend(&message, "However, your ", param, " resulted in ", prompt_tokens,
                    " tokens. Please reduce the length of the ", param, ".");
  }
  return MakeError(Reason::kContextLengthExceeded, message, call.prompt_param);
}

// Special tokens that the output parser must see, sorted.
std::vector<int32_t> ParserTokens(const tokenizer::Tokenizer& tokenizer) {
  std::vector<int32_t> ids;
  for (std::string_view marker : chat::ParserMarkers()) {
    if (std::optional<int32_t> id = tokenizer.TokenId(marker)) ids.push_back(*id);
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

}  // namespace

absl::Status ContextExceeded(const ServedModel& model, std::string_view param, std::string_view found) {
  return MakeError(Reason::kContextLengthExceeded,
                   absl::StrCat("This model's maximum context length is ", model.info.max_model_len,
                                " tokens. However, your ", base::View(param), " ", base::View(found),
                                ". Please reduce the length of the ", base::View(param), "."),
                   param);
}

absl::Status CheckTextFits(const ServedModel& model, size_t text_bytes, std::string_view param) {
  const size_t token_bytes = model.tokenizer->max_bytes_per_token();
  if (token_bytes == 0 || text_bytes / token_bytes <= static_cast<size_t>(model.info.max_model_len)) {
    return absl::OkStatus();
  }
  return ContextExceeded(model, param,
                         absl::StrCat("came to ", text_bytes, " bytes, and a token holds at most ", token_bytes));
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

absl::Status CheckCall(const PreparedCall& call) {
  const int32_t vocab_size = call.model->info.vocab_size;
  if (call.prompt.empty()) {
    return MakeError(Reason::kInvalidRequest,
                     absl::StrCat("`", base::View(call.prompt_param), "` is empty: there is no token"),
                     call.prompt_param);
  }
  if (absl::Status status = CheckTokenIds(call.prompt, vocab_size, call.prompt_param); !status.ok()) return status;
  if (absl::Status status = CheckTokenIds(call.options.stopping.stop_token_ids, vocab_size, "stop_token_ids");
      !status.ok()) {
    return status;
  }
  for (const auto& [token, bias] : call.options.sampling.logit_bias) {
    if (absl::Status status = CheckTokenIds({token}, vocab_size, "logit_bias"); !status.ok()) return status;
  }
  return CheckLength(call);
}

std::unique_ptr<request::Request> RequestOf(const PreparedCall& call) {
  const CallOptions& options = call.options;
  auto request = std::make_unique<request::Request>();
  request->id = options.request_id;
  request->trace_id = options.trace_id;
  request->tenant = options.tenant;
  request->priority = options.priority;
  request->cache_salt = CacheSalt(options);
  request->arrival = options.arrival;
  request->deadline = options.deadline;
  request->first_token_by = options.first_token_by;
  request->may_wait = options.may_wait;
  request->prompt = call.prompt;
  request->sampling = ResolveSampling(options.sampling, call.model->defaults);
  request->n = options.n;
  const int64_t left = ContextLeft(call);
  const int64_t max_tokens = options.stopping.max_tokens.value_or(left);
  request->max_tokens = static_cast<int32_t>(options.stopping.cap_max_tokens ? std::min(max_tokens, left) : max_tokens);
  request->min_tokens = std::min(options.stopping.min_tokens, request->max_tokens);
  request->ignore_eos = options.stopping.ignore_eos;
  request->stop_token_ids = options.stopping.stop_token_ids;
  if (!request->ignore_eos) {
    const std::vector<int32_t>& eos_ids = call.model->tokenizer->eos_ids();
    request->stop_token_ids.insert(request->stop_token_ids.end(), eos_ids.begin(), eos_ids.end());
  }
  // Texts to stop at may come at any time.
  if (options.stopping.stop.empty()) {
    request->least_tokens = request->stop_token_ids.empty() ? request->max_tokens : request->min_tokens;
  }
  request->top_logprobs = options.top_logprobs.value_or(-1);
  request->thinking = call.thinking;
  request->prompt_logprobs = options.prompt_logprobs;
  return request;
}

absl::StatusOr<std::unique_ptr<request::Request>> BuildRequest(const PreparedCall& call,
                                                               std::shared_ptr<request::TokenStream> stream) {
  std::unique_ptr<request::Request> request = RequestOf(call);
  if (call.grammar != nullptr) {
    PendingGrammar::Result grammar = call.grammar->Wait();
    if (!grammar.ok()) return ForParam(grammar.status(), call.grammar_param);
    request->grammar = *std::move(grammar);
  }
  if (call.thinking_limit.has_value()) {
    grammar::ThinkingLimit::Options limit = *call.thinking_limit;
    limit.grammar = std::move(request->grammar);
    request->grammar = std::make_shared<const grammar::ThinkingLimit>(std::move(limit));
  }
  if (request->grammar != nullptr) request->least_tokens = 0;  // the output ends where it is complete
  request->stream = std::move(stream);
  return request;
}

ActiveCall::Options BuildCall(PreparedCall&& call, std::shared_ptr<request::OutputReader> stream) {
  CallOptions& options = call.options;
  ActiveCall::Options active;
  active.model = call.model;
  active.request_id = std::move(options.request_id);
  active.prompt_token_ids = std::move(call.prompt);
  active.stream = std::move(stream);
  active.n = options.n;
  active.reasoning = call.reasoning;
  active.partial_grammar = call.partial_grammar;
  if (call.thinking_limit.has_value()) active.thinking_cuts = call.thinking_limit->cuts;
  active.thinking_switch = std::move(call.thinking_switch);
  if (!options.stopping.stop.empty()) active.stop = std::make_shared<const StopStrings>(options.stopping.stop);
  active.text.skip_special_tokens = options.skip_special_tokens;
  active.text.parse = call.chat;
  active.text.parser = call.parser;
  active.text.parameter_types = call.parameter_types;
  active.text.token_ids = options.return_token_ids;
  active.text.logprobs = options.top_logprobs.has_value();
  if (call.chat) {
    active.text.kept_special_tokens = ParserTokens(*call.model->tokenizer);
    if (call.parser.tool_syntax != chat::ToolSyntax::kNone) {
      active.text.tool_call_id_prefix = absl::StrFormat("call_%016x", RandomBits());
    }
  }
  return active;
}

}  // namespace hadal::service
