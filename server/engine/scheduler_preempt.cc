// SPDX-License-Identifier: Apache-2.0
// Preempt: when a decode row finds no block, the sequence whose loss costs least gives its blocks back and computes its
// tokens again later. Its tokens are kept, so the answer is the same.
#include <algorithm>
#include <tuple>

#include "server/base/check.h"
#include "server/engine/scheduler.h"

namespace hadal::engine {
namespace {

bool HoldsForNow(const Sequence& sequence) { return sequence.state == SequenceState::kRunning && !sequence.scoring(); }

bool MayBePreempted(const Sequence& sequence) { return HoldsForNow(sequence) && !sequence.non_preemptible; }

// Lowest class, then least work lost, then who started last.
bool CostsLess(const Sequence& a, const Sequence* b) {
  const auto cost = [](const Sequence& s) {
    return std::make_tuple(-static_cast<int>(s.owner->request->priority), s.scheduled, -static_cast<int64_t>(s.order));
  };
  return b == nullptr || cost(a) < cost(*b);
}

}  // namespace

bool Scheduler::EnsureBlock(Sequence& needy, BatchPlan& plan) {
  const size_t needed = static_cast<size_t>(BlocksFor(needy.scheduled + 1));
  while (needy.blocks.size() < needed) {
    const int32_t block = cache_.Allocate();
    if (block >= 0) {
      needy.blocks.push_back(block);
      ExtendLease(needy);
      continue;
    }
    Sequence* victim = ChooseVictim();
    // `needy` itself is a candidate: what is scored holds the blocks of its prompt, and what is never preempted all.
    HADAL_CHECK(victim != nullptr) << "no block is free and nobody can give one";
    Preempt(*victim, plan);
    if (victim == &needy) return false;
  }
  return true;
}

Sequence* Scheduler::ChooseVictim() const {
  Sequence* victim = nullptr;
  for (Sequence* sequence : running_) {
    if (MayBePreempted(*sequence) && CostsLess(*sequence, victim)) victim = sequence;
  }
  if (victim != nullptr || options_.max_preemptions == 0) return victim;
  // All have been preempted as often as is fair. The last in line gives way, so that the first one gets to its end.
  const auto place = [](const Sequence& s) {
    return std::make_tuple(static_cast<int>(s.owner->request->priority), s.order);
  };
  for (Sequence* sequence : running_) {
    if (!HoldsForNow(*sequence)) continue;
    if (victim == nullptr || place(*sequence) > place(*victim)) victim = sequence;
  }
  return victim;
}

bool Scheduler::PreemptSuspended(BatchPlan& plan) {
  if (paused_requests_ == 0 && aside_requests_ == 0) return false;
  Sequence* victim = nullptr;
  for (Sequence* sequence : running_) {
    const ActiveRequest& owner = *sequence->owner;
    const bool idle = owner.set_aside() || now_ - owner.paused_since >= kStalledReader;
    if (idle && MayBePreempted(*sequence) && CostsLess(*sequence, victim)) victim = sequence;
  }
  if (victim == nullptr) return false;
  Preempt(*victim, plan);
  return true;
}

void Scheduler::Preempt(Sequence& victim, BatchPlan& plan) {
  for (PlanEntry& entry : plan.entries) {
    if (entry.sequence != &victim || entry.dropped) continue;
    entry.dropped = true;
    plan.tokens -= entry.count;
    if (entry.samples) {
      --victim.pending_samples;
      --plan.sample_rows;
    }
  }
  observer_->OnPreempted(victim.computed);
  victim.recompute_until = std::max(victim.recompute_until, victim.computed);
  ReleaseBlocks(victim);
  victim.computed = victim.scheduled = 0;
  ++victim.epoch;
  if (++victim.preemptions >= options_.max_preemptions) victim.non_preemptible = true;
  victim.state = SequenceState::kWaiting;
  SuspendLease(*victim.owner);
  waiting_.insert(&victim);
  ended_since_removal_ = true;  // it leaves running_
  plan.preempted = true;
}

}  // namespace hadal::engine
