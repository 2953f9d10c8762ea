// SPDX-License-Identifier: Apache-2.0
#include "server/service/call_key.h"

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace hadal::service {
namespace {

// What decides where content lies in the text, and so where a stop string is looked for.
std::string TextForm(const PreparedCall& call) {
  const chat::OutputParser::Options& parser = call.parser;
  return absl::StrCat(call.chat, " ", call.options.skip_special_tokens, " ", parser.starts_in_reasoning, " ",
                      parser.continues_reasoning, " ", parser.split_reasoning, " ",
                      static_cast<int>(parser.tool_syntax), " ", parser.trim_newlines);
}

// The grammar with the limit on reasoning around it.
std::string GrammarText(const PreparedCall& call) {
  std::string text = call.grammar_text;
  if (call.thinking_limit.has_value()) {
    absl::StrAppend(&text, "\nreasoning ", call.thinking_limit->max_tokens, " then ",
                    absl::StrJoin(call.thinking_limit->closing, ","));
  }
  return text;
}

}  // namespace

response_cache::CacheKey KeyOf(const PreparedCall& call, bool for_all_tenants) {
  if (call.thinking_switch != nullptr) return "";  // somebody may end its reasoning, or not
  const CallOptions& options = call.options;
  const std::string text_form = TextForm(call), grammar = GrammarText(call);
  response_cache::OutputFacts facts;
  facts.model = call.model->info.fingerprint;
  facts.dtype = call.model->info.dtype;
  facts.device = call.model->info.device;
  if (!for_all_tenants) facts.tenant = options.tenant;
  facts.user = options.user;
  facts.cache_salt = options.cache_salt;
  facts.has_own_seed = options.sampling.seed.has_value();
  facts.stop_strings = options.stopping.stop;
  facts.text_form = text_form;
  facts.grammar = grammar;
  return OutputKey(facts, *RequestOf(call));
}

}  // namespace hadal::service
