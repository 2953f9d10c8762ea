// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/sync.h"
#include "server/request/request.h"
#include "server/request/token_stream.h"

namespace hadal::service {

// All that a request's stream carried, so that it can be carried again.
struct RecordedOutput {
  std::vector<request::TokenEvent> tokens;  // of all choices, in the order in which they came
  std::vector<request::ChoiceEnd> ends;     // one for each choice
  int32_t cached_tokens = 0;                // prompt tokens that came from the prefix cache

  // Pushes everything into `stream` and closes it. The stream must be new.
  void ReplayInto(request::TokenStream& stream) const;
};

// What makes two requests get the same tokens: model, sender's cache salt, prompt, sampling with its seed, lengths and
// stops. Empty for a request whose output may differ the next time or is not worth keeping: one with a temperature and
// no seed of its own, a grammar, or a scored prompt.
std::string OutputKey(std::string_view model_fingerprint, const request::Request& request, bool has_own_seed,
                      const std::vector<std::string>& stop_strings);

// Outputs of requests that would get the same tokens again, by OutputKey; the least recently used go first. Keys are
// compared in full. Thread-safe.
class ResponseCache {
 public:
  // Bounds keys and outputs together; 0 keeps nothing.
  explicit ResponseCache(int64_t max_bytes) : max_bytes_(max_bytes) {}

  bool enabled() const { return max_bytes_ > 0; }
  // Null when there is none.
  std::shared_ptr<const RecordedOutput> Find(const std::string& key);
  // An output above an eighth of the bound is not kept.
  void Add(std::string key, RecordedOutput output);
  int64_t bytes() const;

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<const RecordedOutput> output;
    int64_t bytes = 0;
  };
  void DropOldest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const int64_t max_bytes_;
  mutable base::Mutex mutex_;
  std::list<Entry> entries_ ABSL_GUARDED_BY(mutex_);  // the most recently used first
  std::unordered_map<std::string_view, std::list<Entry>::iterator> by_key_ ABSL_GUARDED_BY(mutex_);
  int64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

// Listens to one request and gives the cache its output once that has ended well. Not thread-safe.
class OutputRecorder {
 public:
  OutputRecorder(std::shared_ptr<ResponseCache> cache, std::string key)
      : cache_(std::move(cache)), key_(std::move(key)) {}
  // What a read of the stream has brought, before it is used up.
  void Listen(const request::StreamBatch& batch);

 private:
  const std::shared_ptr<ResponseCache> cache_;
  std::string key_;
  RecordedOutput output_;
};

}  // namespace hadal::service
