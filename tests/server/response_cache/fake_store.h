// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "base/sync.h"
#include "server/base/notification.h"
#include "server/response_cache/store.h"

namespace hadal::response_cache {

// A store in memory that can be away, or hang until it is told not to.
struct FakeStore : public Store {
  struct State {
    base::Mutex mutex;
    std::map<CacheKey, std::string> entries ABSL_GUARDED_BY(mutex);
    std::atomic<bool> away{false}, hangs{false};
    std::atomic<int> asked{0};
    base::Notification go_on;

    absl::Status Visit() {
      ++asked;
      if (hangs) go_on.WaitFor(absl::InfiniteDuration());
      return away ? absl::UnavailableError("away") : absl::OkStatus();
    }
  };
  struct Connection : public StoreConnection {
    explicit Connection(std::shared_ptr<State> its_state) : state(std::move(its_state)) {}
    absl::StatusOr<std::string> Get(const CacheKey& key) override {
      if (absl::Status status = state->Visit(); !status.ok()) return status;
      base::MutexLock lock(&state->mutex);
      const auto found = state->entries.find(key);
      if (found == state->entries.end()) return absl::NotFoundError("no");
      return found->second;
    }
    absl::Status Put(const CacheKey& key, std::string_view entry, absl::Duration ttl) override {
      if (absl::Status status = state->Visit(); !status.ok()) return status;
      base::MutexLock lock(&state->mutex);
      state->entries[key] = std::string(entry);
      return absl::OkStatus();
    }
    std::shared_ptr<State> state;
  };

  explicit FakeStore(std::shared_ptr<State> its_state) : state(std::move(its_state)) {}
  std::string_view name() const override { return "fake"; }
  std::unique_ptr<StoreConnection> Connect(absl::Duration timeout) const override {
    return std::make_unique<Connection>(state);
  }
  std::shared_ptr<State> state;
};

}  // namespace hadal::response_cache
