// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/cache_options.h"
#include "client/client.h"
#include "client/disk_cache.h"
#include "client/memory_cache.h"
#include "hadal/v1/inference.pb.h"

namespace hadal::client {

// The key of all that decides the answer of a call, and of `identity`, who makes it and where; nullopt: the answer may
// be another the next time.
std::optional<std::string> AnswerKey(const std::string& identity, const v1::ChatRequest& request);
std::optional<std::string> AnswerKey(const std::string& identity, const v1::GenerateRequest& request);

// Whole answers by their keys: memory, and the disk behind it. Thread-safe; a disk is read and written by the caller.
class ResponseCache {
 public:
  // As DiskCache::Open; InvalidArgument names an option that cannot be.
  static absl::StatusOr<std::unique_ptr<ResponseCache>> Open(const CacheOptions& options);

  // With `from_cache` set.
  std::optional<GenerationResult> Find(const std::string& key, absl::Time now);
  // Keeps answers that have ended by themselves or at their length, not those that a shutdown cut.
  void Add(const std::string& key, const GenerationResult& result, absl::Time now);

 private:
  ResponseCache(const CacheOptions& options, std::unique_ptr<DiskCache> disk)
      : ttl_(options.ttl), memory_(options.memory_bytes), disk_(std::move(disk)) {}

  const absl::Duration ttl_;
  MemoryCache memory_;
  const std::unique_ptr<DiskCache> disk_;  // null: none
};

}  // namespace hadal::client
