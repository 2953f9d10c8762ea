// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "absl/time/time.h"
#include "server/request/notifier.h"
#include "server/request/request.h"

namespace hadal::response_cache {

// A reader of an output that it shares with others.
struct ReaderOptions {
  std::shared_ptr<request::Notifier> notifier;  // told of news; null: nobody is told
  request::Priority priority = request::Priority::kNormal;
  absl::Time deadline = absl::InfiniteFuture();        // of the whole answer
  absl::Time first_token_by = absl::InfiniteFuture();  // of its first token
  bool may_wait = true;                                // false: it runs at once, alone, or not at all
};

}  // namespace hadal::response_cache
