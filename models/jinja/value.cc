// SPDX-License-Identifier: Apache-2.0
#include "models/jinja/value.h"

#include <algorithm>
#include <functional>

#include "models/jinja/callable.h"

namespace hadal::jinja {
namespace {

constexpr size_t kIndexedFrom = 8;

constexpr uint64_t kMaxKeyComparisons = 1000;

bool EqualItems(const std::vector<Value>& a, const std::vector<Value>& b, uint64_t* steps) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [&](const Value& left, const Value& right) {
           return Equal(left, right, steps);
         });
}

bool EqualDicts(const DictData& a, const DictData& b, uint64_t* steps) {
  if (a.items.size() != b.items.size()) return false;
  return std::all_of(a.items.begin(), a.items.end(), [&](const auto& item) {
    const Value* other = b.Find(item.first);
    return other != nullptr && Equal(item.second, *other, steps);
  });
}

bool IsSequence(ListKind kind) { return kind == ListKind::kList || kind == ListKind::kTuple; }

}  // namespace

Value Value::String(std::string bytes, bool input) {
  return Text{std::make_shared<const MarkedText>(std::move(bytes), input), false};
}

const MarkedText* Value::AsText() const {
  const Text* text = std::get_if<Text>(&data_);
  return text == nullptr ? nullptr : text->text.get();
}
const ListData* Value::AsList() const {
  const List* list = std::get_if<List>(&data_);
  return list == nullptr ? nullptr : list->get();
}
List Value::SharedList() const {
  const List* list = std::get_if<List>(&data_);
  return list == nullptr ? nullptr : *list;
}
const DictData* Value::AsDict() const {
  const Dict* dict = std::get_if<Dict>(&data_);
  return dict == nullptr ? nullptr : dict->get();
}
NamespaceData* Value::AsNamespace() const {
  NamespaceData* const* value = std::get_if<NamespaceData*>(&data_);
  return value == nullptr ? nullptr : *value;
}
std::shared_ptr<LoopState> Value::SharedLoop() const {
  const auto* loop = std::get_if<std::shared_ptr<LoopState>>(&data_);
  return loop == nullptr ? nullptr : *loop;
}
LoopState* Value::AsLoop() const { return SharedLoop().get(); }
const Callable* Value::AsCallable() const {
  const auto* callable = std::get_if<std::shared_ptr<const Callable>>(&data_);
  return callable == nullptr ? nullptr : callable->get();
}
bool Value::IsMarkup() const {
  const Text* text = std::get_if<Text>(&data_);
  return text != nullptr && text->markup;
}

bool Value::ToInt(int64_t* out) const {
  if (const bool* value = AsBool()) {
    *out = *value ? 1 : 0;
    return true;
  }
  if (const int64_t* value = std::get_if<int64_t>(&data_)) {
    *out = *value;
    return true;
  }
  return false;
}

bool Value::ToDouble(double* out) const {
  int64_t whole = 0;
  if (ToInt(&whole)) {
    *out = static_cast<double>(whole);
  } else if (const double* value = AsFloat()) {
    *out = *value;
  } else if (const uint64_t* value = AsBigInt()) {
    *out = static_cast<double>(*value);
  } else {
    return false;
  }
  return true;
}

bool Value::IsTrue() const {
  double number = 0;
  if (ToDouble(&number)) return number != 0;
  if (const MarkedText* text = AsText()) return !text->empty();
  if (const ListData* list = AsList()) return list->kind == ListKind::kGenerator || !list->items.empty();
  if (const DictData* dict = AsDict()) return !dict->items.empty();
  return !IsUndefined() && !IsNone();
}

std::string_view Value::TypeName() const {
  static constexpr std::string_view kListNames[] = {"list",      "tuple",       "generator", "range",
                                                    "dict_keys", "dict_values", "dict_items"};
  if (IsUndefined()) return "Undefined";
  if (IsNone()) return "NoneType";
  if (IsBool()) return "bool";
  if (IsInt()) return "int";
  if (IsFloat()) return "float";
  if (IsText()) return "str";
  if (const ListData* list = AsList()) return kListNames[static_cast<size_t>(list->kind)];
  if (AsDict() != nullptr) return "dict";
  if (AsNamespace() != nullptr) return "Namespace";
  return AsCallable() != nullptr ? "function" : "LoopContext";
}

int Value::Depth() const {
  if (const ListData* list = AsList()) return list->depth;
  if (const DictData* dict = AsDict()) return dict->depth;
  return 0;
}

bool Equal(const Value& a, const Value& b, uint64_t* steps) {
  if (*steps == 0) return false;
  --*steps;
  int64_t ia = 0, ib = 0;
  if (a.ToInt(&ia) && b.ToInt(&ib)) return ia == ib;
  double da = 0, db = 0;
  if (a.ToDouble(&da)) return b.ToDouble(&db) && da == db;
  if (const MarkedText* text = a.AsText()) {
    const MarkedText* other = b.AsText();
    return other != nullptr && text->bytes() == other->bytes();
  }
  if (const ListData* list = a.AsList()) {
    const ListData* other = b.AsList();
    if (other == list) return true;
    return other != nullptr && list->kind == other->kind &&
           (IsSequence(list->kind) || list->kind == ListKind::kRange) && EqualItems(list->items, other->items, steps);
  }
  if (const DictData* dict = a.AsDict()) {
    const DictData* other = b.AsDict();
    return other != nullptr && (other == dict || EqualDicts(*dict, *other, steps));
  }
  if (a.IsUndefined()) return b.IsUndefined();
  if (a.IsNone()) return b.IsNone();
  if (a.AsNamespace() != nullptr) return a.AsNamespace() == b.AsNamespace();
  if (a.AsCallable() != nullptr) return a.AsCallable() == b.AsCallable();
  return a.AsLoop() == b.AsLoop();
}

size_t DictData::FindIndex(std::string_view key) const {
  if (slots_.empty()) {
    for (size_t i = 0; i < items.size(); ++i) {
      const MarkedText* text = items[i].first.AsText();
      if (text != nullptr && text->bytes() == key) return i;
    }
    return items.size();
  }
  for (size_t slot = std::hash<std::string_view>()(key) % slots_.size(); slots_[slot] != 0;
       slot = (slot + 1) % slots_.size()) {
    const size_t item = slots_[slot] - 1;
    if (items[item].first.AsText()->bytes() == key) return item;
  }
  return items.size();
}

void DictData::Index(size_t item) {
  const MarkedText* key = items[item].first.AsText();
  if (key == nullptr) return;
  size_t slot = std::hash<std::string_view>()(key->bytes()) % slots_.size();
  while (slots_[slot] != 0) slot = (slot + 1) % slots_.size();
  slots_[slot] = static_cast<uint32_t>(item + 1);
}

const Value* DictData::Find(std::string_view key) const {
  const size_t at = FindIndex(key);
  return at == items.size() ? nullptr : &items[at].second;
}

const Value* DictData::Find(const Value& key) const {
  if (const MarkedText* text = key.AsText()) return Find(text->bytes());
  for (const auto& [other, value] : items) {
    uint64_t steps = kMaxKeyComparisons;
    if (Equal(other, key, &steps)) return &value;
  }
  return nullptr;
}

void DictData::Set(Value key, Value value) {
  depth = std::max(depth, value.Depth() + 1);
  if (const Value* old = Find(key)) {
    *const_cast<Value*>(old) = std::move(value);
    return;
  }
  items.emplace_back(std::move(key), std::move(value));
  if (items.size() <= kIndexedFrom) return;
  if (slots_.size() >= items.size() * 2) return Index(items.size() - 1);
  slots_.assign(items.size() * 4, 0);
  for (size_t i = 0; i < items.size(); ++i) Index(i);
}

Value* NamespaceData::Find(std::string_view name) {
  for (auto& [key, value] : members) {
    if (key == name) return &value;
  }
  return nullptr;
}

List MakeList(std::vector<Value> items, ListKind kind) {
  auto list = std::make_shared<ListData>();
  list->kind = kind;
  for (const Value& item : items) list->depth = std::max(list->depth, item.Depth() + 1);
  list->items = std::move(items);
  return list;
}

Value MakeDict(std::vector<std::pair<Value, Value>> items) {
  auto dict = std::make_shared<DictData>();
  for (auto& [key, value] : items) dict->Set(std::move(key), std::move(value));
  return Dict(std::move(dict));
}

}  // namespace hadal::jinja
