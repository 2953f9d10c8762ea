// SPDX-License-Identifier: Apache-2.0
#include "server/service/grammar_cache.h"

#include <utility>

namespace hadal::service {

std::optional<GrammarCache::Result> GrammarCache::Find(const std::string& key, absl::Time now) {
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return std::nullopt;
  if (found->second->expires <= now) {
    Erase(found->second);
    return std::nullopt;
  }
  entries_.splice(entries_.begin(), entries_, found->second);
  return found->second->result;
}

bool GrammarCache::Insert(const std::string& key, Result result, absl::Time expires) {
  // The key holds the whole schema, twice.
  const int64_t bytes = (result.ok() ? (*result)->bytes() : static_cast<int64_t>(result.status().message().size())) +
                        2 * static_cast<int64_t>(key.size());
  if (const auto found = by_key_.find(key); found != by_key_.end()) Erase(found->second);
  if (bytes > max_bytes_) return false;
  entries_.push_front({key, std::move(result), bytes, expires});
  by_key_[key] = entries_.begin();
  bytes_ += bytes;
  while (bytes_ > max_bytes_) Erase(std::prev(entries_.end()));
  return true;
}

void GrammarCache::Erase(Entries::iterator entry) {
  bytes_ -= entry->bytes;
  by_key_.erase(entry->key);
  entries_.erase(entry);
}

}  // namespace hadal::service
