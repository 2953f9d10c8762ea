// SPDX-License-Identifier: Apache-2.0
#include "server/admission/slot_table.h"

#include <algorithm>
#include <utility>

#include "server/base/check.h"

namespace hadal::admission {
namespace {

constexpr int kLeastUrgent = request::kNumPriorities - 1;

size_t Index(request::Priority priority) { return static_cast<size_t>(priority); }

// A class with a share gets at least one slot, most urgent first, while there are any.
ByClass<int64_t> FloorsOf(int64_t limit, const ByClass<double>& shares) {
  ByClass<int64_t> floors = {};
  int64_t left = limit;
  for (size_t i = 0; i < shares.size(); ++i) {
    if (shares[i] <= 0) continue;
    const auto wanted = static_cast<int64_t>(static_cast<double>(limit) * shares[i]);
    floors[i] = std::min(left, std::max<int64_t>(1, wanted));
    left -= floors[i];
  }
  return floors;
}

}  // namespace

SlotTable::SlotTable(int64_t max_slots, int64_t max_tokens, const ByClass<double>& floors)
    : max_slots_(max_slots), max_tokens_(max_tokens) {
  const auto slot_floors = FloorsOf(max_slots, floors);
  const auto token_floors = FloorsOf(max_tokens, floors);
  for (size_t i = 0; i < classes_.size(); ++i) {
    classes_[i].slot_floor = slot_floors[i];
    classes_[i].token_floor = token_floors[i];
  }
}

bool SlotTable::TokensFit(const Plan& plan, int64_t tokens) const {
  // A prompt above the limit still enters a queue without tokens: else it could never be served.
  const int64_t held = tokens_ - plan.tokens;
  return max_tokens_ == 0 || held == 0 || held + tokens <= max_tokens_;
}

SlotTable::Plan SlotTable::PlanFor(const Demand& demand) const {
  Plan plan;
  const Class& own = classes_[Index(demand.priority)];
  const bool slots_owed = own.slots < own.slot_floor;
  if (!slots_owed) plan.kept_free = demand.kept_free;
  const bool slots_fit = SlotsFit(plan);
  const bool tokens_fit = TokensFit(plan, demand.tokens);
  if (slots_fit && tokens_fit) return plan;
  const bool tokens_owed = own.tokens + demand.tokens <= own.token_floor;
  ReclaimFloor(demand, !slots_fit && slots_owed, !tokens_fit && tokens_owed, plan);
  ShareAmongTenants(demand, plan);
  if (!SlotsFit(plan)) {
    plan.room = Room::kSlotsFull;
  } else if (!TokensFit(plan, demand.tokens)) {
    plan.room = Room::kTokensFull;
  }
  return plan;
}

bool SlotTable::Add(Slot* slot, Plan& plan) {
  if (plan.count == kMaxEvictions) return false;
  plan.victims[plan.count++] = slot;
  plan.tokens += slot->where.tokens;
  return true;
}

void SlotTable::ReclaimFloor(const Demand& demand, bool for_slots, bool for_tokens, Plan& plan) const {
  for (int rank = kLeastUrgent; rank >= 0; --rank) {
    const Class& cls = classes_[rank];
    if (cls.largest() == nullptr) continue;
    int64_t slots = cls.slots;
    int64_t tokens = cls.tokens;
    for (Slot* slot = cls.largest()->newest; slot != nullptr; slot = slot->older) {
      const bool gives_slot = for_slots && !SlotsFit(plan) && slots > cls.slot_floor;
      const bool gives_tokens = for_tokens && !TokensFit(plan, demand.tokens) && tokens > cls.token_floor;
      if (!gives_slot && !gives_tokens) break;
      if (!Add(slot, plan)) return;
      slots -= 1;
      tokens -= slot->where.tokens;
    }
  }
}

void SlotTable::ShareAmongTenants(const Demand& demand, Plan& plan) const {
  const Class& cls = classes_[Index(demand.priority)];
  const TenantSlots* largest = cls.largest();
  if (largest == nullptr) return;
  const auto mine = cls.tenants.find(demand.tenant);
  const int64_t own_slots = mine == cls.tenants.end() ? 0 : mine->second->slots;
  int64_t theirs = largest->slots;
  for (Slot* slot = largest->newest; slot != nullptr; slot = slot->older) {
    if (SlotsFit(plan) && TokensFit(plan, demand.tokens)) return;
    // Afterwards it still has at least as many as the newcomer: nobody takes a slot back and forth.
    if (theirs - 1 < own_slots + 1) return;
    // What the floor has taken already is not taken twice.
    if (std::find(plan.victims.begin(), plan.victims.begin() + plan.count, slot) != plan.victims.begin() + plan.count) {
      continue;
    }
    if (!Add(slot, plan)) return;
    theirs -= 1;
  }
}

SlotTable::Room SlotTable::Check(const Demand& demand) const { return PlanFor(demand).room; }

SlotTable::Taken SlotTable::Take(const Demand& demand) {
  const Plan plan = PlanFor(demand);
  Taken taken;
  taken.room = plan.room;
  if (plan.room != Room::kYes) return taken;
  for (int i = 0; i < plan.count; ++i) {
    Slot& victim = *plan.victims[i];
    Unlink(victim);
    taken.evicted.push_back(victim.where);
    victim.evicted.store(true, std::memory_order_release);
  }
  taken.slot = std::make_unique<Slot>();
  Link(demand, *taken.slot);
  return taken;
}

void SlotTable::Return(std::unique_ptr<Slot> slot) {
  if (!slot->evicted.load(std::memory_order_relaxed)) Unlink(*slot);
}

void SlotTable::Settle(Slot& slot, request::Priority priority, int64_t tokens) {
  if (priority == slot.where.priority) {
    tokens_ += tokens - slot.where.tokens;
    classes_[Index(priority)].tokens += tokens - slot.where.tokens;
    slot.where.tokens = tokens;
    return;
  }
  const std::string tenant = slot.tenant->name;
  Unlink(slot);
  Link({priority, tenant, tokens}, slot);
}

double SlotTable::ShareAhead(request::Priority priority, std::string_view tenant) const {
  const Class& cls = classes_[Index(priority)];
  const auto mine = cls.tenants.find(tenant);
  const size_t turns = static_cast<size_t>(mine == cls.tenants.end() ? 0 : mine->second->slots) + 1;
  const size_t most = cls.holders.size() - 1;
  if (turns >= most) return 1;
  // The shorter of the two sums.
  int64_t ahead = turns <= most / 2 ? 0 : cls.slots;
  if (turns <= most / 2) {
    for (size_t n = 1; n <= turns; ++n) ahead += cls.holders[n];
  } else {
    for (size_t n = turns + 1; n <= most; ++n) ahead -= cls.holders[n];
  }
  return static_cast<double>(ahead) / static_cast<double>(cls.slots);
}

void SlotTable::Recount(Class& cls, TenantSlots& tenant, int64_t change) {
  auto& lists = cls.by_slots;
  if (tenant.slots > 0) {
    (tenant.previous != nullptr ? tenant.previous->next : lists[tenant.slots]) = tenant.next;
    if (tenant.next != nullptr) tenant.next->previous = tenant.previous;
  }
  if (change < 0) --cls.holders[tenant.slots];
  tenant.slots += change;
  if (tenant.slots > 0) {
    if (static_cast<size_t>(tenant.slots) == lists.size()) {
      lists.push_back(nullptr);
      cls.holders.push_back(0);
    }
    tenant.previous = nullptr;
    tenant.next = lists[tenant.slots];
    if (tenant.next != nullptr) tenant.next->previous = &tenant;
    lists[tenant.slots] = &tenant;
  }
  if (change > 0) ++cls.holders[tenant.slots];
  // At most one entry has become empty: the tenant went one down from the last.
  while (lists.size() > 1 && lists.back() == nullptr) {
    lists.pop_back();
    cls.holders.pop_back();
  }
}

void SlotTable::Link(const Demand& demand, Slot& slot) {
  Class& cls = classes_[Index(demand.priority)];
  const auto found = cls.tenants.find(demand.tenant);
  TenantSlots* tenant = found != cls.tenants.end() ? found->second.get() : nullptr;
  if (tenant == nullptr) {
    auto added = std::make_unique<TenantSlots>();
    tenant = added.get();
    tenant->name = std::string(demand.tenant);
    cls.tenants.emplace(tenant->name, std::move(added));
  }
  slot.where.priority = demand.priority;
  slot.where.tokens = demand.tokens;
  slot.tenant = tenant;
  slot.newer = nullptr;
  slot.older = tenant->newest;
  if (slot.older != nullptr) slot.older->newer = &slot;
  tenant->newest = &slot;
  Recount(cls, *tenant, +1);
  slots_ += 1;
  tokens_ += slot.where.tokens;
  cls.slots += 1;
  cls.tokens += slot.where.tokens;
}

void SlotTable::Unlink(Slot& slot) {
  Class& cls = classes_[Index(slot.where.priority)];
  TenantSlots& tenant = *slot.tenant;
  (slot.newer != nullptr ? slot.newer->older : tenant.newest) = slot.older;
  if (slot.older != nullptr) slot.older->newer = slot.newer;
  Recount(cls, tenant, -1);
  if (tenant.slots == 0) cls.tenants.erase(cls.tenants.find(tenant.name));
  slots_ -= 1;
  tokens_ -= slot.where.tokens;
  cls.slots -= 1;
  cls.tokens -= slot.where.tokens;
  HADAL_CHECK(slots_ >= 0 && tokens_ >= 0) << "slots " << slots_ << ", queued tokens " << tokens_;
  slot.tenant = nullptr;
}

}  // namespace hadal::admission
