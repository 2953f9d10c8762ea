// SPDX-License-Identifier: Apache-2.0
#include "models/jinja/item_getter.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "models/jinja/operators.h"

namespace hadal::jinja {

ItemGetter::ItemGetter(Runtime* run, const Value& attribute, Value fallback, bool folds_case)
    : run_(run), fallback_(std::move(fallback)), folds_case_(folds_case) {
  int64_t index = 0;
  if (attribute.ToInt(&index)) path_.push_back(attribute);
  const MarkedText* path = attribute.AsText();
  if (path == nullptr) return;
  for (std::string_view rest = path->bytes(); !rest.empty();) {
    const size_t dot = std::min(rest.find('.'), rest.size());
    const std::string_view part = rest.substr(0, dot);
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool number = error == std::errc() && end == part.data() + part.size() && index >= 0;
    path_.push_back(number ? Value::Int(index) : Value::String(std::string(part), false));
    rest.remove_prefix(std::min(dot + 1, rest.size()));
  }
}

Value ItemGetter::Get(const Value& item) const {
  Value value = item;
  for (const Value& part : path_) {
    if (!run_->Spend(1)) return Value();
    value = GetItem(run_, value, part);
    if (value.IsUndefined() && !fallback_.IsUndefined()) value = fallback_;
  }
  return folds_case_ ? FoldCase(run_, value) : value;
}

Value SortedBy(Runtime* run, const std::vector<Value>& items, bool reverse,
               const std::function<Value(const Value&)>& key) {
  std::vector<std::pair<Value, const Value*>> keyed;
  if (!run->Reserve(items.size() * sizeof(keyed[0]))) return Value();
  for (const Value& item : items) {
    keyed.emplace_back(key(item), &item);
    if (run->failed()) return Value();
  }
  // A merge sort of our own: std::sort may run out of its range when an order is inconsistent, as after an error.
  std::vector<std::pair<Value, const Value*>> merged(keyed.size());
  for (size_t width = 1; width < keyed.size(); width *= 2) {
    for (size_t begin = 0; begin < keyed.size(); begin += 2 * width) {
      const size_t middle = std::min(begin + width, keyed.size()), end = std::min(begin + 2 * width, keyed.size());
      size_t left = begin, right = middle;
      for (size_t out = begin; out < end; ++out) {
        if (!run->Spend(1)) return Value();
        const bool take_right =
            left == middle || (right < end && (reverse ? Less(run, keyed[left].first, keyed[right].first)
                                                       : Less(run, keyed[right].first, keyed[left].first)));
        merged[out] = std::move(keyed[take_right ? right++ : left++]);
      }
    }
    std::swap(keyed, merged);
  }
  std::vector<Value> sorted;
  for (const auto& [unused, item] : keyed) sorted.push_back(*item);
  return run->NewList(std::move(sorted));
}

}  // namespace hadal::jinja
