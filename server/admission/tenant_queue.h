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

// The waiting items of one class, shared fairly by tenant with virtual token counters (VTC). Each tenant has a counter
// of the weighted tokens that it was served; the next item is the oldest one of the waiting tenant with the lowest
// counter. When a tenant returns from idle, its counter is lifted to just below the lowest of the waiting ones: idling
// saves up credit for at most three items of the largest recent size. (Scaling by its own item would let a small item
// use up the credit that a large one needs later.)
//
// While two tenants both wait continuously, what they were served therefore differs by no more than the largest cost of
// an item plus later corrections by Charge. T is moved in and out. Not thread-safe.
template <typename T>
class TenantQueue {
 public:
  // Number of idle tenants that are remembered; only made-up names lead to more.
  static constexpr size_t kMaxIdleTenants = 1024;
  // The credit of a tenant that returns from idle, in items of the largest recent cost.
  static constexpr double kSavedItems = 3;
  // Per item: the largest cost decays to one half over 200 items.
  static constexpr double kLargestDecay = 0.99654;

  bool empty() const { return entries_.empty(); }
  size_t size() const { return entries_.size(); }
  // Enqueue time of the oldest item of any tenant. The queue must not be empty.
  absl::Time oldest() const { return entries_.front().enqueued; }

  // `cost`: the predicted weighted tokens; charged when the item is popped.
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

  // Whether the head's tenant would still have the lowest counter after being served the head and another item like it.
  // It then asks for less than its share, so favouring it does not reduce the share of the others. False if no other
  // tenant waits. The queue must not be empty.
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

  // Corrects the tenant's charge by `weighted_tokens`, which may be negative.
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
