// SPDX-License-Identifier: Apache-2.0
#include "server/response_cache/second_level.h"

#include <utility>

#include "server/base/log.h"
#include "server/base/strings.h"

namespace hadal::response_cache {
namespace {

using Result = base::CircuitBreaker::Result;
using State = base::CircuitBreaker::State;

}  // namespace

SecondLevel::SecondLevel(Options options, std::unique_ptr<Store> store, Timer* timer, ResponseCacheMetrics* metrics)
    : options_(options),
      store_(std::move(store)),
      timer_(timer),
      metrics_(metrics),
      lookup_breaker_(options.breaker),
      write_breaker_(options.breaker) {
  for (int i = 0; i < options_.lookup_threads; ++i) threads_.emplace_back([this] { RunLookups(); });
  threads_.emplace_back([this] { RunWrites(); });
}

SecondLevel::~SecondLevel() {
  std::deque<std::shared_ptr<Lookup>> unanswered;
  {
    base::MutexLock lock(&mutex_);
    stopping_ = true;
    unanswered.swap(lookups_);
    lookups_changed_.NotifyAll();
    writes_changed_.NotifyAll();
  }
  for (const auto& lookup : unanswered) lookup->Set(nullptr);
  for (std::thread& thread : threads_) thread.join();
}

void SecondLevel::Find(std::shared_ptr<Lookup> lookup) {
  bool asked = false, full = false;
  const absl::Time now = timer_->clock().Now();
  {
    base::MutexLock lock(&mutex_);
    full = lookups_.size() >= options_.max_lookups;
    // A thread begins the call: a look-up that is late by then asks nothing.
    asked = !stopping_ && !full && lookup_breaker_.MayBegin(now);
    if (asked) {
      lookups_.push_back(lookup);
      lookups_changed_.NotifyOne();
    }
  }
  if (!asked) {
    CountError(full ? ResponseCacheMetrics::kLookupQueueFull : ResponseCacheMetrics::kCircuitOpen);
    lookup->Set(nullptr);
    return;
  }
  timer_->At(now + options_.lookup_timeout, [metrics = metrics_, weak = std::weak_ptr(lookup)] {
    const std::shared_ptr<Lookup> late = weak.lock();
    if (late != nullptr && late->Set(nullptr)) metrics->store_errors.At(ResponseCacheMetrics::kTooLate).Increment();
  });
}

void SecondLevel::RunLookups() {
  const std::unique_ptr<StoreConnection> connection = store_->Connect(options_.lookup_timeout);
  while (true) {
    std::shared_ptr<Lookup> lookup;
    uint64_t call = 0;
    bool may_ask = false;
    {
      base::MutexLock lock(&mutex_);
      while (lookups_.empty() && !stopping_) lookups_changed_.Wait(&mutex_);
      if (stopping_) return;
      lookup = std::move(lookups_.front());
      lookups_.pop_front();
      const absl::Time now = timer_->clock().Now();
      may_ask = !lookup->ready() && lookup_breaker_.MayBegin(now);
      if (may_ask) call = lookup_breaker_.Begin(now);
    }
    if (!may_ask) {
      lookup->Set(nullptr);
      continue;
    }
    const absl::StatusOr<std::string> entry = connection->Get(lookup->key());
    const bool there = entry.ok() || absl::IsNotFound(entry.status());
    const bool in_time = lookup->Set(entry.ok() ? std::make_shared<const std::string>(*entry) : nullptr);
    if (!there) {
      CountError(ResponseCacheMetrics::kGetFailed);
      base::Log(base::LogLevel::kDebug, "response-cache", base::StdView(entry.status().message()));
    }
    base::MutexLock lock(&mutex_);
    lookup_breaker_.End(call, there && in_time ? Result::kGood : Result::kBad, timer_->clock().Now());
  }
}

void SecondLevel::Put(const CacheKey& key, Entry entry) {
  const auto bytes = static_cast<int64_t>(entry->size());
  {
    base::MutexLock lock(&mutex_);
    if (!stopping_ && write_bytes_ + bytes <= options_.max_write_bytes &&
        write_breaker_.MayBegin(timer_->clock().Now())) {
      write_bytes_ += bytes;
      writes_.push_back({key, std::move(entry)});
      writes_changed_.NotifyOne();
      return;
    }
  }
  CountError(ResponseCacheMetrics::kWriteDropped);
}

void SecondLevel::RunWrites() {
  const std::unique_ptr<StoreConnection> connection = store_->Connect(options_.write_timeout);
  while (true) {
    Write write;
    uint64_t call = 0;
    bool may_ask = false;
    {
      base::MutexLock lock(&mutex_);
      while (writes_.empty() && !stopping_) writes_changed_.Wait(&mutex_);
      if (stopping_) return;
      write = std::move(writes_.front());
      writes_.pop_front();
      write_bytes_ -= static_cast<int64_t>(write.entry->size());
      const absl::Time now = timer_->clock().Now();
      may_ask = write_breaker_.MayBegin(now);
      if (may_ask) call = write_breaker_.Begin(now);
    }
    if (!may_ask) {
      CountError(ResponseCacheMetrics::kWriteDropped);
      continue;
    }
    const absl::Status status = connection->Put(write.key, *write.entry, options_.ttl);
    if (status.ok()) {
      metrics_->store_writes.Get().Increment();
    } else {
      CountError(ResponseCacheMetrics::kPutFailed);
      base::Log(base::LogLevel::kDebug, "response-cache", base::StdView(status.message()));
    }
    base::MutexLock lock(&mutex_);
    write_breaker_.End(call, status.ok() ? Result::kGood : Result::kBad, timer_->clock().Now());
  }
}

int SecondLevel::CircuitOf(const base::CircuitBreaker& breaker) const {
  switch (breaker.state()) {
    case State::kClosed:
      return 0;
    case State::kHalfOpen:
      return 1;
    case State::kOpen:
      return 2;
  }
  return 0;
}

int SecondLevel::lookup_circuit() const {
  base::MutexLock lock(&mutex_);
  return CircuitOf(lookup_breaker_);
}

int SecondLevel::write_circuit() const {
  base::MutexLock lock(&mutex_);
  return CircuitOf(write_breaker_);
}

}  // namespace hadal::response_cache
