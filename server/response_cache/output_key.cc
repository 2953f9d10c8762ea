// SPDX-License-Identifier: Apache-2.0
#include "server/response_cache/output_key.h"

#include <cstdint>
#include <type_traits>
#include <utility>

#include "server/response_cache/sha256.h"

namespace hadal::response_cache {
namespace {

// Changes with what a key is made of, and when the same request would get other tokens than before.
constexpr std::string_view kVersion = "hadal response 1";

// Values one after the other, each of a fixed size or behind its length: different requests give different bytes.
class KeyHash {
 public:
  template <typename T>
  void Add(T value) {
    static_assert(std::is_arithmetic_v<T>);
    hash_.Add({reinterpret_cast<const char*>(&value), sizeof(value)});
  }
  void Add(std::string_view text) {
    Add(text.size());
    hash_.Add(text);
  }
  void Add(const std::vector<int32_t>& ids) {
    Add(ids.size());
    hash_.Add({reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(int32_t)});
  }
  std::string Finish() { return hash_.Finish(); }

 private:
  Sha256 hash_;
};

void AddSampling(const models::SamplingParams& sampling, KeyHash* key) {
  const auto& [temperature, top_k, top_p, min_p, repetition, frequency, presence, seed, logit_bias] = sampling;
  key->Add(temperature);
  key->Add(top_k);
  key->Add(top_p);
  key->Add(min_p);
  key->Add(repetition);
  key->Add(frequency);
  key->Add(presence);
  key->Add(temperature > 0 ? seed : uint64_t{0});
  key->Add(logit_bias.size());
  for (const auto& [token, bias] : logit_bias) {
    key->Add(token);
    key->Add(bias);
  }
}

}  // namespace

CacheKey OutputKey(const OutputFacts& facts, const request::Request& request) {
  // A new member does not compile here until somebody has said whether it counts.
  const auto& [id, trace_id, tenant, priority, prefix_salt, arrival, deadline, first_token_by, may_wait, prompt,
               sampling, n, max_tokens, min_tokens, least_tokens, ignore_eos, stop_token_ids, top_logprobs, thinking,
               prompt_logprobs, grammar, stream] = request;
  if (prompt_logprobs) return "";
  if (sampling.temperature > 0 && !facts.has_own_seed) return "";
  KeyHash key;
  key.Add(kVersion);
  for (const std::string_view text : {facts.model, facts.dtype, facts.device, facts.tenant, facts.user,
                                      facts.cache_salt, facts.text_form, facts.grammar}) {
    key.Add(text);
  }
  AddSampling(sampling, &key);
  key.Add(n);
  key.Add(max_tokens);
  key.Add(min_tokens);
  key.Add(ignore_eos);
  key.Add(top_logprobs);
  key.Add(stop_token_ids);
  key.Add(facts.stop_strings.size());
  for (const std::string& stop : facts.stop_strings) key.Add(std::string_view(stop));
  key.Add(prompt);
  return key.Finish();
}

}  // namespace hadal::response_cache
