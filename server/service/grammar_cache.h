// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "models/grammar/grammar_compiler.h"

namespace hadal::service {

// Compiled grammars by key, and the refusals of those that cannot be compiled or took too long, so that they are not
// compiled again and again. LRU eviction above a number of bytes. Grammars in use are kept alive by their users. Not
// thread-safe.
class GrammarCache {
 public:
  using Result = absl::StatusOr<std::shared_ptr<const grammar::CompiledGrammar>>;

  explicit GrammarCache(int64_t max_bytes) : max_bytes_(max_bytes) {}

  // Nullopt when unknown or expired at `now`. A hit is the most recent use.
  std::optional<Result> Find(const std::string& key, absl::Time now);
  // Keeps a result until `expires` and replaces an older one. False for one that is larger than the whole cache: it is
  // not kept.
  bool Insert(const std::string& key, Result result, absl::Time expires = absl::InfiniteFuture());

  int64_t bytes() const { return bytes_; }
  size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    std::string key;
    Result result;
    int64_t bytes;
    absl::Time expires;
  };
  using Entries = std::list<Entry>;

  void Erase(Entries::iterator entry);

  const int64_t max_bytes_;
  int64_t bytes_ = 0;
  Entries entries_;  // most recent first
  std::unordered_map<std::string, Entries::iterator> by_key_;
};

}  // namespace hadal::service
