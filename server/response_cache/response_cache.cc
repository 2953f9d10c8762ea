// SPDX-License-Identifier: Apache-2.0
#include "server/response_cache/response_cache.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/response_cache/redis_store.h"
#include "server/response_cache/replay_reader.h"
#include "server/response_cache/sqlite_store.h"

namespace hadal::response_cache {
namespace {

constexpr std::string_view kFlag = "response-cache";

absl::Status ForFlag(const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat("--response-cache: ", status.message()));
}

// Null when the options name no second level.
absl::StatusOr<std::unique_ptr<Store>> StoreOf(const ResponseCacheOptions& options) {
  const std::string second = options.SecondLevel();
  constexpr std::string_view kSqlite = "sqlite:";
  if (second.starts_with(kSqlite)) {
    auto store = MakeSqliteStore(second.substr(kSqlite.size()), options.disk_bytes);
    if (!store.ok()) return ForFlag(store.status());
    return store;
  }
  if (second.empty()) return nullptr;
  absl::StatusOr<redis::Endpoint> endpoint = options.redis.EndpointOf(second, kFlag, kFlag);
  if (!endpoint.ok()) return endpoint.status();
  return MakeRedisStore(*std::move(endpoint));
}

std::unique_ptr<SecondLevel> SecondLevelOf(const ResponseCacheOptions& cache, std::unique_ptr<Store> store,
                                           Timer* timer, ResponseCacheMetrics* metrics) {
  if (store == nullptr || timer == nullptr) return nullptr;
  SecondLevel::Options options;
  options.lookup_timeout = cache.lookup_timeout;
  options.ttl = cache.ttl == absl::ZeroDuration() ? absl::InfiniteDuration() : cache.ttl;
  return std::make_unique<SecondLevel>(options, std::move(store), timer, metrics);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ResponseCache>> ResponseCache::Create(Options options) {
  if (absl::Status status = options.cache.Validate(); !status.ok()) return status;
  std::unique_ptr<Store> store = std::move(options.store);
  if (store == nullptr) {
    absl::StatusOr<std::unique_ptr<Store>> made = StoreOf(options.cache);
    if (!made.ok()) return made.status();
    store = *std::move(made);
  }
  return std::unique_ptr<ResponseCache>(new ResponseCache(std::move(options), std::move(store)));
}

ResponseCache::ResponseCache(Options options, std::unique_ptr<Store> store)
    : options_(std::move(options)),
      own_metrics_(options_.metrics == nullptr ? std::make_unique<ResponseCacheMetrics>(nullptr) : nullptr),
      metrics_(options_.metrics == nullptr ? *own_metrics_ : *options_.metrics),
      timer_(enabled() ? std::make_shared<Timer>(options_.clock) : nullptr),
      memory_((enabled() ? options_.cache.memory_bytes : 0) + options_.ladder_bytes),
      second_(SecondLevelOf(options_.cache, std::move(store), timer_.get(), &metrics_)),
      collector_(metrics_.registry, [this] {
        if (second_ != nullptr) {
          metrics_.store_circuit.At(0).Set(second_->lookup_circuit());
          metrics_.store_circuit.At(1).Set(second_->write_circuit());
        }
        const MemoryTier::Counts counts = memory_.counts();
        metrics_.bytes.Get().Set(static_cast<double>(counts.bytes));
        metrics_.entries.Get().Set(static_cast<double>(counts.entries));
        metrics_.evictions.Get().Increment(counts.evictions - std::exchange(counted_evictions_, counts.evictions));
      }) {}

std::shared_ptr<Lookup> ResponseCache::Open(CacheKey key, CacheControl control) {
  const bool elsewhere =
      second_ != nullptr && control.reads() && memory_.Find(key, options_.wall_time()) == nullptr && !InFlightNow(key);
  auto lookup = std::make_shared<Lookup>(std::move(key), control);
  if (elsewhere) {
    second_->Find(lookup);
  } else {
    lookup->Set(nullptr);
  }
  return lookup;
}

std::optional<ResponseCache::Answer> ResponseCache::Find(const Lookup& lookup, const ReaderOptions& reader) {
  if (!lookup.control().reads()) return std::nullopt;
  auto hit = ResponseCacheMetrics::kHitMemory;
  std::optional<DecodedOutput> found = FindInMemory(lookup.key());
  if (!found.has_value()) {
    found = TakeFromStore(lookup);
    if (found.has_value()) {
      hit = second_->store().name() == "redis" ? ResponseCacheMetrics::kHitRedis : ResponseCacheMetrics::kHitSqlite;
    }
  }
  if (found.has_value() && options_.wall_time() - found->stored_at <= lookup.control().max_age) {
    metrics_.lookups.At(hit).Increment();
    return Answer{Replay(std::move(found->output), reader.notifier), CacheResult::kHit};
  }
  base::MutexLock lock(&mutex_);
  return JoinLocked(lookup.key(), reader);
}

ResponseCache::Leadership ResponseCache::Lead(const Lookup& lookup, const ReaderOptions& reader,
                                              int32_t capacity_tokens) {
  base::MutexLock lock(&mutex_);
  if (lookup.control().reads()) {
    if (std::optional<Answer> joined = JoinLocked(lookup.key(), reader)) return {nullptr, *std::move(joined)};
  }
  CountMiss();
  const uint64_t id = next_id_++;
  auto end = [this, key = lookup.key(), id](const RecordedOutput* output) {
    if (output != nullptr) Keep(key, *output);
    EndInFlight(key, id);
  };
  // One that may not wait has other limits than its equals: it runs for itself.
  const std::weak_ptr<Timer> timer = reader.may_wait ? timer_ : nullptr;
  auto output = SharedOutput::Create(capacity_tokens, reader.priority, timer, std::move(end));
  if (reader.may_wait) in_flight_[lookup.key()] = {id, output};
  std::shared_ptr<request::OutputReader> leader = output->Attach(reader, /*leader=*/true);
  return {std::move(output), {std::move(leader), CacheResult::kMiss}};
}

std::optional<ResponseCache::Answer> ResponseCache::JoinLocked(const CacheKey& key, const ReaderOptions& reader) {
  const auto found = in_flight_.find(key);
  if (found == in_flight_.end() || !reader.may_wait) return std::nullopt;
  const std::shared_ptr<SharedOutput> output = found->second.output.lock();
  // What waits in a less urgent class is no answer to a more urgent request.
  if (output == nullptr || output->priority() > reader.priority) return std::nullopt;
  std::shared_ptr<request::OutputReader> follower = output->Attach(reader, /*leader=*/false);
  if (follower == nullptr) return std::nullopt;
  metrics_.lookups.At(ResponseCacheMetrics::kCoalesced).Increment();
  return Answer{std::move(follower), CacheResult::kCoalesced};
}

void ResponseCache::EndInFlight(const CacheKey& key, uint64_t id) {
  base::MutexLock lock(&mutex_);
  const auto found = in_flight_.find(key);
  if (found != in_flight_.end() && found->second.id == id) in_flight_.erase(found);
}

std::shared_ptr<SharedOutput> ResponseCache::Record(CacheKey key, request::Priority priority, int32_t capacity_tokens) {
  return SharedOutput::Create(capacity_tokens, priority, {},
                              [this, key = std::move(key)](const RecordedOutput* output) {
                                if (output != nullptr) Keep(key, *output);
                              });
}

std::optional<RecordedOutput> ResponseCache::FindRecorded(const CacheKey& key) {
  std::optional<DecodedOutput> found = FindInMemory(key);
  if (!found.has_value()) return std::nullopt;
  return std::move(found->output);
}

std::shared_ptr<request::OutputReader> ResponseCache::Replay(RecordedOutput output,
                                                             std::shared_ptr<request::Notifier> notifier) const {
  ReplayReader::Options options;
  if (timer_ != nullptr && options_.cache.replay_rate > 0) {
    options = {static_cast<double>(options_.cache.replay_rate), timer_.get(), std::move(notifier)};
  }
  return std::make_shared<ReplayReader>(std::move(output), std::move(options));
}

std::optional<DecodedOutput> ResponseCache::FindInMemory(const CacheKey& key) {
  const MemoryTier::Entry entry = memory_.Find(key, options_.wall_time());
  if (entry == nullptr) return std::nullopt;
  absl::StatusOr<DecodedOutput> decoded = DecodeOutput(key, *entry);
  if (!decoded.ok()) return std::nullopt;
  return *std::move(decoded);
}

std::optional<DecodedOutput> ResponseCache::TakeFromStore(const Lookup& lookup) {
  const Lookup::Entry entry = lookup.Wait();
  if (entry == nullptr) return std::nullopt;
  absl::StatusOr<DecodedOutput> decoded = DecodeOutput(lookup.key(), *entry);
  if (!decoded.ok()) {
    metrics_.store_errors.At(ResponseCacheMetrics::kCorrupt).Increment();
    return std::nullopt;
  }
  // Another process may have other ideas of an entry's life.
  const absl::Time expires = ExpiryOf(decoded->stored_at);
  if (expires <= options_.wall_time()) return std::nullopt;
  memory_.Add(lookup.key(), entry, expires);
  return *std::move(decoded);
}

bool ResponseCache::InFlightNow(const CacheKey& key) {
  base::MutexLock lock(&mutex_);
  return in_flight_.contains(key);
}

absl::Time ResponseCache::ExpiryOf(absl::Time stored_at) const {
  return options_.cache.ttl == absl::ZeroDuration() ? absl::InfiniteFuture() : stored_at + options_.cache.ttl;
}

void ResponseCache::Keep(const CacheKey& key, const RecordedOutput& output) {
  const absl::Time now = options_.wall_time();
  auto entry = std::make_shared<const std::string>(EncodeOutput(key, output, now));
  memory_.Add(key, entry, ExpiryOf(now));
  if (second_ != nullptr) second_->Put(key, std::move(entry));
}

}  // namespace hadal::response_cache
