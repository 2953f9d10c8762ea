// SPDX-License-Identifier: Apache-2.0
#include "server/response_cache/redis_store.h"

#include <hiredis/hiredis.h>

#include <algorithm>
#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/base/strings.h"

namespace hadal::response_cache {
namespace {

// Changes with what an entry means; the version of its bytes is in them.
constexpr absl::string_view kPrefix = "hadal:response:1:";
constexpr int kMaxRedirects = 3;

struct FreeContext {
  void operator()(redisContext* context) const { redisFree(context); }
};
struct FreeReply {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using Context = std::unique_ptr<redisContext, FreeContext>;
using Reply = std::unique_ptr<redisReply, FreeReply>;
using Words = std::vector<std::string>;

absl::string_view Text(const redisReply& reply) { return {reply.str, reply.len}; }

Reply Send(redisContext* context, const Words& words) {
  std::vector<const char*> texts;
  std::vector<size_t> sizes;
  for (const std::string& word : words) {
    texts.push_back(word.data());
    sizes.push_back(word.size());
  }
  return Reply(
      static_cast<redisReply*>(redisCommandArgv(context, static_cast<int>(words.size()), texts.data(), sizes.data())));
}

class RedisConnection : public StoreConnection {
 public:
  RedisConnection(RedisUrl url, absl::Duration timeout)
      : url_(std::move(url)), seed_{url_.host, url_.port}, timeout_(absl::ToTimeval(timeout)) {}

  absl::StatusOr<std::string> Get(const CacheKey& key) override {
    const std::string name = NameOf(key);
    absl::StatusOr<Reply> reply = Run(name, {"GET", name});
    if (!reply.ok()) return reply.status();
    if ((*reply)->type == REDIS_REPLY_NIL) return absl::NotFoundError("no such entry");
    if ((*reply)->type != REDIS_REPLY_STRING) return absl::InternalError("GET gave no string");
    return std::string(Text(**reply));
  }

  absl::Status Put(const CacheKey& key, std::string_view entry, absl::Duration ttl) override {
    const std::string name = NameOf(key);
    Words words = {"SET", name, std::string(entry)};
    if (ttl != absl::InfiniteDuration()) {
      words.insert(words.end(), {"PX", absl::StrCat(std::max<int64_t>(1, absl::ToInt64Milliseconds(ttl)))});
    }
    return Run(name, words).status();
  }

 private:
  using Node = std::pair<std::string, int>;  // host and port

  static std::string NameOf(const CacheKey& key) {
    return absl::StrCat(kPrefix, absl::BytesToHexString(absl::string_view(key.data(), key.size())));
  }

  // The reply of the node that has the key. After an error that node's connection is gone: a reply that comes too late
  // must not be taken for the next one's.
  absl::StatusOr<Reply> Run(const std::string& name, const Words& words) {
    const uint16_t slot = RedisSlot(name);
    const auto known = moved_.find(slot);
    Node node = known == moved_.end() ? seed_ : known->second;
    bool asking = false;
    for (int redirects = 0; redirects <= kMaxRedirects; ++redirects) {
      absl::StatusOr<Reply> reply = RunOn(node, asking, words);
      if (!reply.ok()) {
        moved_.clear();  // a node that is away: ask the first one again who has what
        return reply;
      }
      if ((*reply)->type != REDIS_REPLY_ERROR) return reply;
      const std::string error(Text(**reply));
      const std::vector<std::string> parts = absl::StrSplit(error, ' ');
      asking = parts[0] == "ASK";
      if (parts.size() != 3 || (!asking && parts[0] != "MOVED")) return absl::UnavailableError(error);
      if (!ReadNode(parts[2], &node)) return absl::InternalError(absl::StrCat("a redirection to nowhere: ", error));
      if (!asking) moved_[slot] = node;
    }
    return absl::UnavailableError("too many redirections");
  }

  absl::StatusOr<Reply> RunOn(const Node& node, bool asking, const Words& words) {
    absl::StatusOr<redisContext*> context = ContextOf(node);
    if (!context.ok()) return context.status();
    Reply reply;
    if (!asking || Send(*context, {"ASKING"}) != nullptr) reply = Send(*context, words);
    if (reply != nullptr) return reply;
    const std::string error = (*context)->errstr;
    contexts_.erase(node);
    return absl::UnavailableError(absl::StrCat(node.first, ":", node.second, ": ", error));
  }

  absl::StatusOr<redisContext*> ContextOf(const Node& node) {
    if (const auto found = contexts_.find(node); found != contexts_.end()) return found->second.get();
    Context context(redisConnectWithTimeout(node.first.c_str(), node.second, timeout_));
    const auto failed = [&](absl::string_view why) {
      return absl::UnavailableError(absl::StrCat(node.first, ":", node.second, ": ", why));
    };
    if (context == nullptr) return failed("no memory");
    if (context->err != 0) return failed(context->errstr);
    redisSetTimeout(context.get(), timeout_);
    redisEnableKeepAlive(context.get());
    std::vector<Words> greetings;
    if (!url_.password.empty()) {
      greetings.push_back(url_.user.empty() ? Words{"AUTH", url_.password} : Words{"AUTH", url_.user, url_.password});
    }
    if (url_.db != 0) greetings.push_back({"SELECT", absl::StrCat(url_.db)});
    for (const Words& words : greetings) {
      const Reply reply = Send(context.get(), words);
      if (reply == nullptr) return failed(context->errstr);
      if (reply->type == REDIS_REPLY_ERROR) return failed(Text(*reply));
    }
    return contexts_.emplace(node, std::move(context)).first->second.get();
  }

  // HOST:PORT; without a host it is the first node's.
  bool ReadNode(absl::string_view text, Node* node) const {
    const size_t colon = text.rfind(':');
    if (colon == absl::string_view::npos || !absl::SimpleAtoi(text.substr(colon + 1), &node->second)) return false;
    node->first = colon == 0 ? seed_.first : std::string(text.substr(0, colon));
    return true;
  }

  const RedisUrl url_;
  const Node seed_;
  const timeval timeout_;
  std::map<Node, Context> contexts_;
  std::unordered_map<uint16_t, Node> moved_;  // slots that the first node does not have
};

class RedisStore : public Store {
 public:
  explicit RedisStore(RedisUrl url) : url_(std::move(url)) {}
  std::string_view name() const override { return "redis"; }
  std::unique_ptr<StoreConnection> Connect(absl::Duration timeout) const override {
    return std::make_unique<RedisConnection>(url_, timeout);
  }

 private:
  const RedisUrl url_;
};

}  // namespace

std::unique_ptr<Store> MakeRedisStore(RedisUrl url) { return std::make_unique<RedisStore>(std::move(url)); }

}  // namespace hadal::response_cache
