// SPDX-License-Identifier: Apache-2.0
#include "server/http/connection_table.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

namespace hadal::http {

ConnectionTable::Handle& ConnectionTable::Handle::operator=(Handle&& other) noexcept {
  if (this != &other) {
    Release();
    table_ = std::exchange(other.table_, nullptr);
    entry_ = other.entry_;
  }
  return *this;
}

void ConnectionTable::Handle::SetClose(std::function<void()> close) {
  if (table_ == nullptr) return;
  base::MutexLock lock(&table_->mutex_);
  entry_->close = std::move(close);
}

void ConnectionTable::Handle::Enter(Phase phase, TimePoint now) {
  if (table_ == nullptr) return;
  base::MutexLock lock(&table_->mutex_);
  entry_->phase = phase;
  entry_->since = now;
}

void ConnectionTable::Handle::Touch(TimePoint now) {
  if (table_ == nullptr) return;
  base::MutexLock lock(&table_->mutex_);
  entry_->since = now;
}

void ConnectionTable::Handle::Release() {
  if (table_ == nullptr) return;
  std::function<void()> freed;  // without the lock: what it holds may have a destructor
  base::MutexLock lock(&table_->mutex_);
  freed = std::move(entry_->close);
  if (entry_->evicted) table_->ending_ -= 1;
  table_->entries_.erase(entry_);
  table_ = nullptr;
}

ConnectionTable::Handle ConnectionTable::Add(std::string network, std::function<void()> close, TimePoint now) {
  Handle handle;
  base::MutexLock lock(&mutex_);
  handle.table_ = this;
  handle.entry_ = entries_.insert(entries_.end(), Entry{std::move(network), std::move(close), now});
  return handle;
}

int64_t ConnectionTable::ending() const {
  base::MutexLock lock(&mutex_);
  return ending_;
}

bool ConnectionTable::HoldsNoRequest(const Entry& entry, TimePoint now, std::chrono::milliseconds min_silence) {
  return entry.phase == Phase::kClosing || (entry.phase == Phase::kSilent && entry.since + min_silence <= now) ||
         (entry.phase == Phase::kIdle && entry.since + kMinWait <= now);
}

bool ConnectionTable::WaitsForBytes(const Entry& entry, TimePoint now) {
  return (entry.phase == Phase::kHead || entry.phase == Phase::kBody) && entry.since + kMinWait <= now;
}

bool ConnectionTable::HoldsPlace(const Entry& entry) {
  return !entry.evicted && entry.phase != Phase::kSilent && entry.phase != Phase::kClosing;
}

int64_t ConnectionTable::Places() const { return std::count_if(entries_.begin(), entries_.end(), HoldsPlace); }

ConnectionTable::Entries::iterator ConnectionTable::Choose(bool of_places, TimePoint now,
                                                           std::chrono::milliseconds min_silence) {
  const Entries::iterator none = entries_.end();
  Entries::iterator oldest = none;
  const auto consider = [&](Entries::iterator it) {
    if (oldest == none || it->since < oldest->since) oldest = it;
  };
  const auto may = [&](const Entry& entry) { return of_places ? HoldsPlace(entry) : !entry.evicted; };
  for (auto it = entries_.begin(); it != entries_.end(); ++it) {
    if (may(*it) && HoldsNoRequest(*it, now, min_silence)) consider(it);
  }
  if (oldest != none) return oldest;

  const auto waits = [&](const Entry& entry) { return may(entry) && WaitsForBytes(entry, now); };
  std::unordered_map<std::string_view, int64_t> waiting;
  std::string_view most;
  for (const Entry& entry : entries_) {
    if (waits(entry) && ++waiting[entry.network] > waiting[most]) most = entry.network;
  }
  for (auto it = entries_.begin(); it != entries_.end(); ++it) {
    if (waits(*it) && it->network == most) consider(it);
  }
  return oldest;
}

std::function<void()> ConnectionTable::Evict(bool of_places, TimePoint now, std::chrono::milliseconds min_silence) {
  const Entries::iterator chosen = Choose(of_places, now, min_silence);
  if (chosen == entries_.end()) return nullptr;
  chosen->evicted = true;
  ending_ += 1;
  metrics_->evicted.At(static_cast<size_t>(chosen->phase)).Increment();
  return std::exchange(chosen->close, nullptr);
}

bool ConnectionTable::MakeRoom(TimePoint now, std::chrono::milliseconds min_silence) {
  std::function<void()> close;
  {
    base::MutexLock lock(&mutex_);
    close = Evict(/*of_places=*/false, now, min_silence);
  }
  if (close == nullptr) return false;
  close();
  return true;
}

bool ConnectionTable::MakePlace(int64_t max_places, TimePoint now) {
  std::function<void()> close;
  bool made = false;
  {
    base::MutexLock lock(&mutex_);
    const int64_t places = Places();
    if (places <= max_places) return true;
    close = Evict(/*of_places=*/true, now, {});
    made = close != nullptr && places - 1 <= max_places;
  }
  if (close != nullptr) close();
  return made;
}

}  // namespace hadal::http
