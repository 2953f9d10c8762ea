// SPDX-License-Identifier: Apache-2.0
#include "server/response_cache/redis_store.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace hadal::response_cache {
namespace {

// Changes with what an entry means; the version of its bytes is in them.
constexpr absl::string_view kPrefix = "hadal:response:1:";

class RedisConnection : public StoreConnection {
 public:
  RedisConnection(redis::Endpoint endpoint, absl::Duration timeout) : client_(std::move(endpoint), timeout) {}

  absl::StatusOr<std::string> Get(const CacheKey& key) override {
    const std::string name = NameOf(key);
    absl::StatusOr<redis::Reply> reply = Run(name, {"GET", name});
    if (!reply.ok()) return reply.status();
    if (reply->nil()) return absl::NotFoundError("no such entry");
    if (reply->kind != redis::Reply::Kind::kText) return absl::InternalError("GET gave no string");
    return std::move(reply->text);
  }

  absl::Status Put(const CacheKey& key, std::string_view entry, absl::Duration ttl) override {
    const std::string name = NameOf(key);
    redis::Words words = {"SET", name, std::string(entry)};
    if (ttl != absl::InfiniteDuration()) {
      words.insert(words.end(), {"PX", absl::StrCat(std::max<int64_t>(1, absl::ToInt64Milliseconds(ttl)))});
    }
    return Run(name, words).status();
  }

 private:
  static std::string NameOf(const CacheKey& key) {
    return absl::StrCat(kPrefix, absl::BytesToHexString(absl::string_view(key.data(), key.size())));
  }
  absl::StatusOr<redis::Reply> Run(const std::string& name, const redis::Words& words) {
    absl::StatusOr<redis::Reply> reply = client_.Run(name, words);
    if (reply.ok() && reply->error()) return absl::UnavailableError(reply->text);
    return reply;
  }

  redis::Client client_;
};

class RedisStore : public Store {
 public:
  explicit RedisStore(redis::Endpoint endpoint) : endpoint_(std::move(endpoint)) {}
  std::string_view name() const override { return "redis"; }
  std::unique_ptr<StoreConnection> Connect(absl::Duration timeout) const override {
    return std::make_unique<RedisConnection>(endpoint_, timeout);
  }

 private:
  const redis::Endpoint endpoint_;
};

}  // namespace

std::unique_ptr<Store> MakeRedisStore(redis::Endpoint endpoint) {
  return std::make_unique<RedisStore>(std::move(endpoint));
}

}  // namespace hadal::response_cache
