// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/sync.h"
#include "server/response_cache/cache_control.h"
#include "server/response_cache/output_key.h"

namespace hadal::response_cache {

// One request's lookup in the response cache, which waits for the second level. Thread-safe.
class Lookup {
 public:
  using Entry =
      std::shared_ptr<const std::string>;  // an encoded output; null: there is none, or it did not come in time

  Lookup(CacheKey key, CacheControl control) : key_(std::move(key)), control_(control) {}

  const CacheKey& key() const { return key_; }
  const CacheControl& control() const { return control_; }

  bool ready() const;
  // Runs `done` once when it is ready: on the thread that made it so, or at once. It may only post work elsewhere.
  void OnReady(std::function<void()> done);
  // Blocks until it is ready, which a deadline bounds.
  Entry Wait() const;
  // The first entry stays; false for later ones.
  bool Set(Entry entry);

 private:
  const CacheKey key_;
  const CacheControl control_;
  mutable base::Mutex mutex_;
  mutable base::CondVar changed_;
  bool ready_ ABSL_GUARDED_BY(mutex_) = false;
  Entry entry_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::function<void()>> waiting_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace hadal::response_cache
