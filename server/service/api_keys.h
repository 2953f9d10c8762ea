// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/sync.h"
#include "server/request/request.h"
#include "server/service/key_quota.h"

namespace hadal::service {

// Who calls, and what class the call runs in.
struct Caller {
  std::string tenant;
  request::Priority priority = request::Priority::kNormal;
  request::Priority max_priority = request::Priority::kHigh;  // the most urgent class that the key allows
  bool gateway = false;                                       // speaks for many clients
  std::shared_ptr<KeyQuota> quota;                            // of the key; null: it has no limits

  // Changes the class. PERMISSION_DENIED for one above the key's; it stays as it was then.
  absl::Status AskFor(request::Priority wanted);
};

// Bearer keys of --api-key-file: one `key tenant [class] [gateway] [limit=N ...]` per line. A # at the start of a line
// or after white space starts a comment; inside a word it is part of it. `class` is the most urgent class that the key
// may ask for (default: high); `gateway` marks a key that a gateway uses for its clients. The limits are those of
// QuotaLimits: `requests`, `tokens-per-minute` and `burst-tokens`. Thread-safe. Without keys everybody is the tenant
// "". Copies share one table, which Replace changes for all.
class ApiKeys {
 public:
  ApiKeys() = default;
  // Takes the keys of `other` from the next Authenticate on; calls that run are not touched. A key that stays keeps
  // what it has used of its limits.
  void Replace(const ApiKeys& other);

  // InvalidArgument with file, line and what is wrong for a malformed line or a repeated key: a line that cannot be
  // read as it was meant never gives more rights. Keys never appear in messages.
  static absl::StatusOr<ApiKeys> Load(const std::string& path);
  static absl::StatusOr<ApiKeys> Parse(std::string_view text, std::string_view file);

  size_t size() const { return table_->Get()->size(); }
  bool empty() const { return size() == 0; }

  // `authorization` is the header's value ("Bearer KEY"), `wanted` the class asked for.
  // UNAUTHENTICATED for a missing or unknown key; PERMISSION_DENIED for a class above the key's.
  // Takes the same time for every key, so that timing does not reveal a partial match.
  absl::StatusOr<Caller> Authenticate(std::string_view authorization, std::optional<request::Priority> wanted) const;

  // The caller for work that `tenant` has queued on the server: in the class batch, with the limits of its first key.
  // UNAUTHENTICATED if there are keys but none of this tenant any more.
  absl::StatusOr<Caller> CallerOf(std::string_view tenant) const;

 private:
  struct Key {
    std::string secret;
    std::string tenant;
    request::Priority cap = request::Priority::kHigh;
    bool gateway = false;
    std::shared_ptr<KeyQuota> quota;  // null: no limits
  };
  using Keys = std::vector<Key>;
  class Table {
   public:
    std::shared_ptr<const Keys> Get() const {
      base::MutexLock lock(&mutex_);
      return keys_;
    }
    void Set(std::shared_ptr<const Keys> keys) {
      base::MutexLock lock(&mutex_);
      keys_ = std::move(keys);
    }

   private:
    mutable base::Mutex mutex_;
    std::shared_ptr<const Keys> keys_ ABSL_GUARDED_BY(mutex_) = std::make_shared<const Keys>();
  };
  std::shared_ptr<Table> table_ = std::make_shared<Table>();
};

// UNAUTHENTICATED: the server asks for client certificates, and the client has shown none.
absl::Status MissingCertificate();

// "high", "normal", "low", "batch"; nullopt for anything else.
std::optional<request::Priority> ParsePriority(std::string_view name);

}  // namespace hadal::service
