// SPDX-License-Identifier: Apache-2.0
#include "server/service/response_cache.h"

#include <type_traits>
#include <utility>

namespace hadal::service {
namespace {

// Values one after the other, each of a fixed size or behind its length: two different requests never give the same
// key.
class KeyWriter {
 public:
  template <typename T>
  void Add(T value) {
    static_assert(std::is_arithmetic_v<T>);
    key_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  void Add(std::string_view text) {
    Add(text.size());
    key_.append(text);
  }
  void Add(const std::vector<int32_t>& ids) {
    Add(ids.size());
    key_.append(reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(int32_t));
  }
  std::string Take() { return std::move(key_); }

 private:
  std::string key_;
};

int64_t BytesOf(const RecordedOutput& output) {
  size_t bytes = sizeof(output) + output.tokens.size() * sizeof(request::TokenEvent) +
                 output.ends.size() * sizeof(request::ChoiceEnd);
  for (const request::TokenEvent& token : output.tokens) bytes += token.top.size() * sizeof(request::TokenLogprob);
  return static_cast<int64_t>(bytes);
}

}  // namespace

void RecordedOutput::ReplayInto(request::TokenStream& stream) const {
  stream.MarkStarted();
  for (const request::TokenEvent& token : tokens) stream.PushToken(token);
  for (const request::ChoiceEnd& end : ends) stream.EndChoice(end);
  request::StreamUsage usage;
  usage.cached_tokens = cached_tokens;
  usage.completion_tokens = static_cast<int32_t>(tokens.size());
  stream.Close(absl::OkStatus(), usage);
}

std::string OutputKey(std::string_view model_fingerprint, const request::Request& request, bool has_own_seed,
                      const std::vector<std::string>& stop_strings) {
  const models::SamplingParams& sampling = request.sampling;
  if (request.grammar != nullptr || request.prompt_logprobs) return "";
  if (sampling.temperature > 0 && !has_own_seed) return "";
  KeyWriter key;
  key.Add(model_fingerprint);
  key.Add(std::string_view(request.tenant));
  key.Add(request.cache_salt);
  key.Add(sampling.temperature);
  key.Add(sampling.top_k);
  key.Add(sampling.top_p);
  key.Add(sampling.min_p);
  key.Add(sampling.repetition_penalty);
  key.Add(sampling.frequency_penalty);
  key.Add(sampling.presence_penalty);
  if (sampling.temperature > 0) key.Add(sampling.seed);
  key.Add(sampling.logit_bias.size());
  for (const auto& [token, bias] : sampling.logit_bias) {
    key.Add(token);
    key.Add(bias);
  }
  key.Add(request.n);
  key.Add(request.max_tokens);
  key.Add(request.min_tokens);
  key.Add(request.ignore_eos);
  key.Add(request.top_logprobs);
  key.Add(request.stop_token_ids);
  key.Add(stop_strings.size());
  for (const std::string& stop : stop_strings) key.Add(std::string_view(stop));
  key.Add(request.prompt);
  return key.Take();
}

std::shared_ptr<const RecordedOutput> ResponseCache::Find(const std::string& key) {
  base::MutexLock lock(&mutex_);
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, found->second);
  return found->second->output;
}

void ResponseCache::Add(std::string key, RecordedOutput output) {
  const int64_t bytes = BytesOf(output) + static_cast<int64_t>(key.size());
  if (bytes > max_bytes_ / 8) return;
  auto kept = std::make_shared<const RecordedOutput>(std::move(output));
  base::MutexLock lock(&mutex_);
  if (const auto found = by_key_.find(key); found != by_key_.end()) {
    bytes_ += bytes - found->second->bytes;
    found->second->bytes = bytes;
    found->second->output = std::move(kept);
    entries_.splice(entries_.begin(), entries_, found->second);
  } else {
    entries_.push_front({std::move(key), std::move(kept), bytes});
    by_key_.emplace(entries_.front().key, entries_.begin());
    bytes_ += bytes;
  }
  while (bytes_ > max_bytes_) DropOldest();
}

void ResponseCache::DropOldest() {
  const Entry& oldest = entries_.back();
  bytes_ -= oldest.bytes;
  by_key_.erase(oldest.key);
  entries_.pop_back();
}

int64_t ResponseCache::bytes() const {
  base::MutexLock lock(&mutex_);
  return bytes_;
}

void OutputRecorder::Listen(const request::StreamBatch& batch) {
  output_.tokens.insert(output_.tokens.end(), batch.tokens.begin(), batch.tokens.end());
  output_.ends.insert(output_.ends.end(), batch.ends.begin(), batch.ends.end());
  if (!batch.closed || !batch.status.ok()) return;
  // Cut by a drain: not what the request would get again.
  for (const request::ChoiceEnd& end : output_.ends) {
    if (end.reason == request::FinishReason::kInsufficientSystemResource) return;
  }
  output_.cached_tokens = batch.usage.cached_tokens;
  cache_->Add(std::move(key_), std::move(output_));
}

}  // namespace hadal::service
