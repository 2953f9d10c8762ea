// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "server/admission/class_values.h"
#include "server/request/request.h"

namespace hadal::admission {

struct TenantSlots;

// A request's place in the queue. Made by SlotTable::Take, held by the request's Ticket.
struct Slot {
  // The slot was reassigned and no longer counts. Set once, by the table; read by any thread.
  std::atomic<bool> evicted{false};
  // Guarded by the same lock as the table.
  struct Where {
    request::Priority priority = request::Priority::kNormal;
    int32_t model_index = -1;     // in whose queue the request is or will be; -1: it is being parsed
    int32_t forecast_index = -1;  // whose forecast counts it as waiting; -1: none yet
    int64_t tokens = 0;           // of its prompt
  };
  Where where;

 private:
  friend class SlotTable;
  TenantSlots* tenant = nullptr;
  Slot* older = nullptr;  // of the same tenant and class
  Slot* newer = nullptr;
};

// What one tenant holds of one class. Exists while it holds something.
struct TenantSlots {
  std::string name;
  int64_t slots = 0;
  Slot* newest = nullptr;
  TenantSlots* previous = nullptr;  // among the tenants with as many slots
  TenantSlots* next = nullptr;
};

// Tracks which requests hold the queue's slots and queued tokens, and decides which gives way when all are taken:
//
//   floors   Each class has a guaranteed floor of both. Others borrow what it does not use. To get it back, it evicts a
//            request of the least urgent class above its floor: the newest one of the tenant with the most slots.
//   tenants  Above its floor a class is shared fairly among its tenants: the newest request of the tenant with the most
//            slots gives way to a tenant that would still have fewer. So one tenant holds at most half while another
//            wants more.
//
// Otherwise the newcomer is refused. Nothing is reserved: any class and tenant may fill an idle queue. Every operation
// takes constant time. Not thread-safe, except for Slot::evicted.
class SlotTable {
 public:
  // `max_tokens` 0: tokens are counted, not limited.
  // `floors`: the share of both that each class can always have; at most 1 together.
  SlotTable(int64_t max_slots, int64_t max_tokens, const ByClass<double>& floors);

  enum class Room : uint8_t { kYes, kSlotsFull, kTokensFull };
  struct Demand {
    request::Priority priority = request::Priority::kNormal;
    std::string_view tenant;
    int64_t tokens = 0;
    int64_t kept_free = 0;  // slots that it must leave free, unless its class is below its floor
  };
  // Whether Take would give a slot.
  Room Check(const Demand& demand) const;

  struct Taken {
    Room room = Room::kYes;
    std::unique_ptr<Slot> slot;        // null unless there was room
    std::vector<Slot::Where> evicted;  // the requests that were evicted for it
  };
  Taken Take(const Demand& demand);
  void Return(std::unique_ptr<Slot> slot);
  // Sets the true class and size of the request. Allowed to exceed the limits, because the work is already done. The
  // slot must not be evicted.
  void Settle(Slot& slot, request::Priority priority, int64_t tokens);

  // The share of the class's slots that would be served before a further request of that tenant when tenants take
  // turns: of each other tenant, as many as the tenant would hold itself. 1 if it is alone or holds the most.
  double ShareAhead(request::Priority priority, std::string_view tenant) const;

  int64_t slots() const { return slots_; }
  int64_t tokens() const { return tokens_; }
  int64_t slots(request::Priority priority) const { return classes_[static_cast<size_t>(priority)].slots; }
  int64_t tokens(request::Priority priority) const { return classes_[static_cast<size_t>(priority)].tokens; }
  int64_t slot_floor(request::Priority priority) const { return classes_[static_cast<size_t>(priority)].slot_floor; }

 private:
  // The most requests that one long prompt may evict; bounds the cost of a decision.
  static constexpr int kMaxEvictions = 16;

  struct Class {
    int64_t slots = 0, slot_floor = 0;
    int64_t tokens = 0, token_floor = 0;
    std::unordered_map<std::string_view, std::unique_ptr<TenantSlots>> tenants;  // by their own names
    std::vector<TenantSlots*> by_slots = {nullptr};  // [n]: the tenants that hold n slots, linked
    std::vector<int64_t> holders = {0};              // [n]: how many tenants hold n slots or more, from 1 on
    TenantSlots* largest() const { return by_slots.back(); }
  };
  // The requests to evict for a demand.
  struct Plan {
    Room room = Room::kYes;
    int count = 0;
    std::array<Slot*, kMaxEvictions> victims = {};
    int64_t tokens = 0;  // of the victims
    int64_t kept_free = 0;
  };

  Plan PlanFor(const Demand& demand) const;
  bool SlotsFit(const Plan& plan) const { return slots_ - plan.count + plan.kept_free < max_slots_; }
  bool TokensFit(const Plan& plan, int64_t tokens) const;
  void ReclaimFloor(const Demand& demand, bool for_slots, bool for_tokens, Plan& plan) const;
  void ShareAmongTenants(const Demand& demand, Plan& plan) const;
  static bool Add(Slot* slot, Plan& plan);
  // Counts one slot more or less (`change` 1, -1) for the tenant.
  static void Recount(Class& cls, TenantSlots& tenant, int64_t change);
  void Link(const Demand& demand, Slot& slot);
  void Unlink(Slot& slot);

  const int64_t max_slots_;
  const int64_t max_tokens_;
  int64_t slots_ = 0;
  int64_t tokens_ = 0;
  ByClass<Class> classes_;
};

}  // namespace hadal::admission
