// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <memory>

#include "server/http/await.h"

namespace hadal::http {

// An event that one coroutine waits for and any thread may set. Events between two waits count as one. Held by
// shared_ptr; the executor's context must outlive it.
class AsyncEvent : public std::enable_shared_from_this<AsyncEvent> {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  explicit AsyncEvent(const boost::asio::any_io_executor& executor) : timer_(executor) {}

  boost::asio::any_io_executor executor() { return timer_.get_executor(); }

  // From the executor's thread.
  void Set() {
    set_ = true;
    timer_.cancel();
  }
  // From any thread. Posts to the executor, once for any number of calls before it runs.
  void PostSet() {
    if (posted_.exchange(true, std::memory_order_acq_rel)) return;
    boost::asio::post(timer_.get_executor(), [self = shared_from_this()] {
      self->posted_.store(false, std::memory_order_release);
      self->Set();
    });
  }
  // Waits for the event and takes it; false when the deadline passed first. On the executor's thread.
  boost::asio::awaitable<bool> Wait(TimePoint deadline = TimePoint::max()) {
    if (!set_) {
      timer_.expires_at(deadline);
      co_await timer_.async_wait(kAwait);
    }
    const bool was_set = set_;
    set_ = false;
    co_return was_set;
  }

 private:
  boost::asio::steady_timer timer_;
  std::atomic<bool> posted_{false};
  bool set_ = false;
};

}  // namespace hadal::http
