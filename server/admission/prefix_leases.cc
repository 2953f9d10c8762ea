// SPDX-License-Identifier: Apache-2.0
#include "server/admission/prefix_leases.h"

#include <algorithm>
#include <random>
#include <utility>

#include "server/base/check.h"

namespace hadal::admission {
namespace {

// Finaliser of SplitMix64.
uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

uint64_t RandomSeed() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

}  // namespace

int32_t PrefixHold::shared() const {
  return static_cast<int32_t>(std::count(states_.begin(), states_.end(), State::kShared));
}

PrefixLeases::PrefixLeases(KvPoolLedger* pool, int32_t block_tokens, int64_t block_bytes)
    : pool_(pool), block_tokens_(block_tokens), block_bytes_(block_bytes), seed_(RandomSeed()) {}

std::unique_ptr<PrefixHold> PrefixLeases::Claim(absl::Span<const int32_t> prompt, uint64_t salt) {
  auto hold = std::make_unique<PrefixHold>();
  const size_t blocks = prompt.empty() ? 0 : (prompt.size() - 1) / block_tokens_;
  hold->hashes_.reserve(blocks);
  uint64_t hash = Mix(seed_ ^ Mix(salt));
  for (size_t i = 0; i < blocks; ++i) {
    for (const int32_t token : prompt.subspan(i * block_tokens_, block_tokens_)) {
      hash = (hash ^ static_cast<uint32_t>(token)) * 0x9fb21c651e98df25ULL;
      hash ^= hash >> 32;
    }
    hash = Mix(hash);
    hold->hashes_.push_back(hash);
  }
  hold->states_.assign(blocks, State::kOwn);
  base::MutexLock lock(&mutex_);
  for (size_t i = 0; i < blocks; ++i) {
    const auto found = blocks_.find(hold->hashes_[i]);
    if (found == blocks_.end()) break;
    ++found->second.sharers;
    hold->states_[i] = State::kShared;
  }
  return hold;
}

bool PrefixLeases::Start(PrefixHold& hold, int32_t cached_blocks, MemoryLease& lease) {
  const auto in_cache = [&](size_t i) { return static_cast<int64_t>(i) < cached_blocks; };
  base::MutexLock lock(&mutex_);
  int64_t lost = 0;
  for (size_t i = 0; i < hold.states_.size(); ++i) {
    lost += hold.states_[i] == State::kShared && IsLost(blocks_.at(hold.hashes_[i]), in_cache(i));
  }
  if (lost > 0) {
    absl::StatusOr<MemoryLease> more = pool_->TryLease(lost * block_bytes_);
    if (!more.ok()) return false;
    lease.Merge(*std::move(more));
  }
  int64_t surplus = 0;
  for (size_t i = 0; i < hold.states_.size(); ++i) {
    State& state = hold.states_[i];
    if (state == State::kShared) {
      Block& block = blocks_.at(hold.hashes_[i]);
      if (IsLost(block, in_cache(i))) {
        --block.sharers;
        state = State::kOwn;
        if (in_cache(i)) Lend(hold, i, block, /*cached=*/true);
      } else if (!in_cache(i)) {
        --block.sharers;
        lease.Merge(kept_.Split(block_bytes_));
        Lend(hold, i, block, /*cached=*/false);
      }
    } else if (in_cache(i)) {
      Block& block = blocks_[hold.hashes_[i]];
      const bool leased = block.lender != nullptr ? block.cached : block.sharers > 0;
      if (leased) {
        ++block.sharers;
        ++surplus;
        state = State::kShared;
      } else {
        Lend(hold, i, block, /*cached=*/true);
      }
    }
  }
  lease.Split(surplus * block_bytes_).Release();
  size_.store(blocks_.size(), std::memory_order_relaxed);
  return true;
}

void PrefixLeases::Publish(PrefixHold& hold, int32_t index) {
  if (index >= hold.blocks()) return;
  base::MutexLock lock(&mutex_);
  if (hold.states_[index] == State::kShared) return;
  Block& block = blocks_[hold.hashes_[index]];
  // Somebody's block is in the cache already, and this one stays private.
  if (block.lender != nullptr && block.lender != &hold && block.cached) return;
  // What was kept for the sharers is in this request's lease now.
  if (block.lender == nullptr && block.sharers > 0) kept_.Split(block_bytes_).Release();
  Lend(hold, index, block, /*cached=*/true);
  size_.store(blocks_.size(), std::memory_order_relaxed);
}

void PrefixLeases::Suspend(PrefixHold& hold, MemoryLease& lease) {
  base::MutexLock lock(&mutex_);
  for (size_t i = 0; i < hold.states_.size(); ++i) {
    if (hold.states_[i] != State::kLent) continue;
    Block& block = blocks_.at(hold.hashes_[i]);
    block.lender = nullptr;
    ++block.sharers;
    hold.states_[i] = State::kShared;
    kept_.Merge(lease.Split(block_bytes_));
  }
}

void PrefixLeases::Release(PrefixHold& hold, MemoryLease& lease) {
  base::MutexLock lock(&mutex_);
  for (size_t i = 0; i < hold.states_.size(); ++i) {
    if (hold.states_[i] == State::kOwn) continue;
    const auto found = blocks_.find(hold.hashes_[i]);
    HADAL_CHECK(found != blocks_.end()) << "block " << i << " of a prompt is shared by nobody";
    Block& block = found->second;
    if (hold.states_[i] == State::kLent) {
      block.lender = nullptr;
      if (block.sharers > 0) kept_.Merge(lease.Split(block_bytes_));
    } else {
      --block.sharers;
      if (block.sharers == 0 && block.lender == nullptr) kept_.Split(block_bytes_).Release();
    }
    if (block.sharers == 0 && block.lender == nullptr) blocks_.erase(found);
  }
  size_.store(blocks_.size(), std::memory_order_relaxed);
  hold.states_.clear();
  hold.hashes_.clear();
}

int64_t PrefixLeases::kept_bytes() const {
  base::MutexLock lock(&mutex_);
  return kept_.bytes();
}

void PrefixLeases::Lend(PrefixHold& hold, size_t index, Block& block, bool cached) {
  if (block.lender != nullptr) block.lender->states_[index] = State::kOwn;
  block.lender = &hold;
  block.cached = cached;
  hold.states_[index] = State::kLent;
}

}  // namespace hadal::admission
