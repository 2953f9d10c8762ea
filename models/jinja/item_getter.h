// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <vector>

#include "models/jinja/runtime.h"

namespace hadal::jinja {

// What filters take as `attribute`: a name, a number, or a path such as "function.name"; undefined is the item itself.
class ItemGetter {
 public:
  // `fallback` stands for what is undefined, unless it is undefined itself. `folds_case`: texts in lower case.
  ItemGetter(Runtime* run, const Value& attribute, Value fallback, bool folds_case = false);
  Value Get(const Value& item) const;

 private:
  Runtime* run_;
  std::vector<Value> path_;
  Value fallback_;
  bool folds_case_;
};

// The items in the order of their keys, equal ones as they came. Fails for keys without an order.
Value SortedBy(Runtime* run, const std::vector<Value>& items, bool reverse,
               const std::function<Value(const Value&)>& key);

}  // namespace hadal::jinja
