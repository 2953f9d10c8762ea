// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <list>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "absl/time/time.h"

namespace hadal::admission {

// What waits of one class, shared fairly by its tenants (VTC: virtual token counters). Each tenant has a counter of the
// weighted tokens that it was served; next is the oldest item of the waiting tenant with the lowest. One that comes
// back from idle is lifted to just below the lowest of those that wait: idling saves up three large items, not more.
// Large ones, whatever it comes with: else a small item would use up what it has saved for a large one after it.
//
// So while two tenants both wait all the time, what they were served differs by no more than the largest cost of an
// item, and what Charge corrects later. T is moved in and out. Not thread-safe.
template <typename T>
class TenantQueue {
 public:
  // Idle tenants that are remembered; more would cost memory, and only newly made-up names make so many.
  static constexpr size_t kMaxIdleTenants = 1024;
  // What a tenant that comes back from idle may be owed, in items as costly as the largest lately.
  static constexpr double kSavedItems = 3;
  // With each item: the largest counts for half after 200.
  static constexpr double kLargestDecay = 0.99654;

  bool empty() const { return entries_.empty(); }
  size_t size() const { return entries_.size(); }
  // Of what waits longest, whoever's it is. The queue must not be empty.
  absl::Time oldest() const { return entries_.front().enqueued; }

  // `cost`: the weighted tokens that it will be served, as far as is known; charged when it is popped.
  void Push(std::string_view tenant_name, absl::Time enqueued, double cost, T item) {
    Tenant& tenant = Find(tenant_name);
    largest_ = std::max(cost, largest_ * kLargestDecay);
    entries_.push_back({enqueued, cost, &tenant, nullptr, nullptr, std::move(item), {}});
    Entry& entry = entries_.back();
    entry.self = std::prev(entries_.end());
    entry.previous = tenant.last;
    (tenant.last != nullptr ? tenant.last->next : tenant.first) = &entry;
    tenant.last = &entry;
    if (entry.previous == nullptr) Activate(tenant);
  }

  // Whether the tenant of the head stays behind every other one that waits, even when it has been served the head and
  // another one like it: it asks for less than its share, and what goes first for it is a part of that. So however much
  // it is favoured, the others keep theirs. False while nobody else waits. The queue must not be empty.
  bool HeadIsOwed() const {
    if (active_.size() < 2) return false;
    const Tenant& next = **active_.begin();
    return next.served + 2 * next.first->cost <= (*std::next(active_.begin()))->served;
  }
  // The queue must not be empty.
  T& Head() { return (*active_.begin())->first->item; }
  T PopHead() {
    Tenant& tenant = **active_.begin();
    Entry& entry = *tenant.first;
    T item = std::move(entry.item);
    Charge(tenant, entry.cost);
    Remove(entry);
    return item;
  }

  // The tenant was served that much more than it was charged for, or less.
  void Charge(std::string_view tenant_name, double weighted_tokens) { Charge(Find(tenant_name), weighted_tokens); }
  // 0 for a tenant that is not known.
  double Served(std::string_view tenant_name) const {
    const auto found = tenants_.find(tenant_name);
    return found == tenants_.end() ? 0 : found->second->served;
  }
  size_t tenants() const { return tenants_.size(); }

  // Moves every item for which `predicate` is true to `out`, uncharged; the others keep their order.
  template <typename Predicate, typename Out>
  void Extract(const Predicate& predicate, Out& out) {
    for (auto entry = entries_.begin(); entry != entries_.end();) {
      Entry& candidate = *entry++;
      if (!predicate(candidate.item)) continue;
      out.push_back(std::move(candidate.item));
      Remove(candidate);
    }
  }

 private:
  struct Tenant;
  struct Entry {
    absl::Time enqueued;
    double cost;
    Tenant* tenant;
    Entry* previous;  // of the tenant
    Entry* next;
    T item;
    typename std::list<Entry>::iterator self;
  };
  struct Tenant {
    std::string name;
    double served = 0;
    uint64_t waits_since = 0;  // counts who began to wait
    Entry* first = nullptr;
    Entry* last = nullptr;
    typename std::list<Tenant*>::iterator idle;  // while nothing of it waits
  };
  struct LeastServed {
    bool operator()(const Tenant* a, const Tenant* b) const {
      return a->served != b->served ? a->served < b->served : a->waits_since < b->waits_since;
    }
  };

  // Makes it when it is not known.
  Tenant& Find(std::string_view name) {
    if (const auto found = tenants_.find(name); found != tenants_.end()) return *found->second;
    auto made = std::make_unique<Tenant>();
    Tenant& tenant = *made;
    tenant.name = std::string(name);
    tenant.served = floor_;
    tenants_.emplace(tenant.name, std::move(made));
    AddIdle(tenant);
    return tenant;
  }
  void AddIdle(Tenant& tenant) {
    tenant.idle = idle_.insert(idle_.end(), &tenant);
    if (idle_.size() <= kMaxIdleTenants) return;
    Tenant* forgotten = idle_.front();
    idle_.pop_front();
    tenants_.erase(tenants_.find(forgotten->name));
  }
  void Activate(Tenant& tenant) {
    idle_.erase(tenant.idle);
    const double lowest = active_.empty() ? floor_ : (*active_.begin())->served;
    tenant.served = std::max(tenant.served, lowest - kSavedItems * largest_);
    tenant.waits_since = ++activations_;
    active_.insert(&tenant);
  }
  void Charge(Tenant& tenant, double weighted_tokens) {
    const bool active = tenant.first != nullptr;
    if (active) active_.erase(&tenant);
    tenant.served = std::max(0.0, tenant.served + weighted_tokens);
    if (active) active_.insert(&tenant);
  }
  void Remove(Entry& entry) {
    Tenant& tenant = *entry.tenant;
    (entry.previous != nullptr ? entry.previous->next : tenant.first) = entry.next;
    (entry.next != nullptr ? entry.next->previous : tenant.last) = entry.previous;
    if (tenant.first == nullptr) {
      floor_ = std::max(floor_, tenant.served);
      active_.erase(&tenant);
      AddIdle(tenant);
    }
    entries_.erase(entry.self);
  }

  std::list<Entry> entries_;                                               // of all tenants, oldest first
  std::unordered_map<std::string_view, std::unique_ptr<Tenant>> tenants_;  // by their own names
  std::set<Tenant*, LeastServed> active_;
  std::list<Tenant*> idle_;  // the longest idle first
  double floor_ = 0;         // of who comes when nobody waits
  double largest_ = 0;       // cost of an item, lately
  uint64_t activations_ = 0;
};

}  // namespace hadal::admission
