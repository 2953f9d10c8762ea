// SPDX-License-Identifier: Apache-2.0
#include "server/service/degradation.h"

#include <utility>

#include "server/request/refusal.h"
#include "server/service/call_key.h"
#include "server/service/prepared_call.h"

namespace hadal::service {

std::string_view RungName(Rung rung) {
  switch (rung) {
    case Rung::kNone:
      return "none";
    case Rung::kCache:
      return "cache";
    case Rung::kReasoningEffort:
      return "reasoning-effort";
    case Rung::kMaxTokens:
      return "max-tokens";
    case Rung::kModel:
      return "model";
    case Rung::kUpstream:
      return "upstream";
    case Rung::kStatic:
      return "static";
  }
  return "none";
}

Degradation::Degradation(DegradationOptions options, response_cache::ResponseCache* cache)
    : options_(std::move(options)),
      cache_(cache),
      degraded_(options_.metrics,
                {.name = "hadal_degraded_total",
                 .help = "Calls answered by a rung of the degradation ladder instead of refused.",
                 .labels = {"rung"},
                 .series = {{"cache"}, {"reasoning-effort"}, {"max-tokens"}, {"model"}, {"upstream"}, {"static"}}}) {}

bool Degradation::MayAnswer(const absl::Status& refusal, bool upstream_first) const {
  if (refusal.ok() || (!records() && (upstream_first || options_.answer.empty()))) return false;
  return request::WireErrorFor(request::GetErrorDetail(refusal).reason).capacity;
}

std::optional<Degradation::Answer> Degradation::Find(const PreparedCall& call, const request::Request& request) {
  if (const response_cache::CacheKey key = KeyToRecord(call); !key.empty()) {
    if (std::optional<response_cache::RecordedOutput> output = cache_->FindRecorded(key)) {
      Count(Rung::kCache);
      return Answer{Rung::kCache, *std::move(output)};
    }
  }
  // A fixed text follows no grammar.
  if (call.options.upstream_first || options_.answer.empty() || request.grammar != nullptr) return std::nullopt;
  const absl::StatusOr<std::vector<int32_t>> ids = call.model->tokenizer->Encode(options_.answer, {});
  if (!ids.ok()) return std::nullopt;
  response_cache::RecordedOutput output;
  for (int32_t choice = 0; choice < request.n; ++choice) {
    for (const int32_t id : *ids) output.tokens.push_back({.choice = choice, .token_id = id});
    output.ends.push_back({.choice = choice, .reason = request::FinishReason::kStop});
  }
  Count(Rung::kStatic);
  return Answer{Rung::kStatic, std::move(output)};
}

bool Degradation::Shorten(request::Request* request) const {
  if (options_.max_tokens == 0 || request->max_tokens <= options_.max_tokens) return false;
  if (request->priority < request::Priority::kLow) return false;
  request->max_tokens = options_.max_tokens;
  request->min_tokens = std::min(request->min_tokens, request->max_tokens);
  request->least_tokens = std::min(request->least_tokens, request->max_tokens);
  return true;
}

response_cache::CacheKey Degradation::KeyToRecord(const PreparedCall& call) const {
  if (!records() || call.options.cache.mode == response_cache::CacheControl::Mode::kNoStore) return "";
  return KeyOf(call, cache_->shared());
}

}  // namespace hadal::service
