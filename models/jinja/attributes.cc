// SPDX-License-Identifier: Apache-2.0
// a.b, a[b] and a[b:c:d].
#include <algorithm>

#include "models/concat.h"
#include "models/jinja/builtins.h"
#include "models/jinja/characters.h"
#include "models/jinja/operators.h"

namespace hadal::jinja {
namespace {

Value Missing(const std::string* name) { return Value(Value::Undefined{name}); }

Value LoopAttribute(Runtime* run, const Value& object, const std::string& name) {
  const LoopState& loop = *object.AsLoop();
  const auto size = static_cast<int64_t>(loop.items->items.size());
  const auto index = static_cast<int64_t>(loop.index);
  if (name == "index") return Value::Int(index + 1);
  if (name == "index0") return Value::Int(index);
  if (name == "revindex") return Value::Int(size - index);
  if (name == "revindex0") return Value::Int(size - index - 1);
  if (name == "first") return Value::Bool(index == 0);
  if (name == "last") return Value::Bool(index + 1 == size);
  if (name == "length") return Value::Int(size);
  if (name == "depth") return Value::Int(loop.depth + 1);
  if (name == "depth0") return Value::Int(loop.depth);
  if (name == "previtem") return index > 0 ? loop.items->items[loop.index - 1] : Missing(nullptr);
  if (name == "nextitem") return index + 1 < size ? loop.items->items[loop.index + 1] : Missing(nullptr);
  if (HasMethod(object, name)) return BindMethod(object, name);
  (void)run;
  return Missing(&name);
}

bool Hashable(const Value& key) {
  return key.AsDict() == nullptr && (key.AsList() == nullptr || key.AsList()->kind != ListKind::kList);
}

// The item alone; false without one.
bool FindItem(Runtime* run, const Value& object, const Value& key, Value* out) {
  if (const DictData* dict = object.AsDict()) {
    const Value* found = Hashable(key) ? dict->Find(key) : nullptr;
    if (found != nullptr) *out = *found;
    return found != nullptr;
  }
  int64_t index = 0;
  if (!key.ToInt(&index)) return false;
  if (const ListData* list = object.AsList()) {
    if (list->kind != ListKind::kList && list->kind != ListKind::kTuple && list->kind != ListKind::kRange) return false;
    const auto size = static_cast<int64_t>(list->items.size());
    if (index < 0) index += size;
    if (index < 0 || index >= size) return false;
    *out = list->items[static_cast<size_t>(index)];
    return true;
  }
  const MarkedText* text = object.AsText();
  if (text == nullptr || !run->SpendBytes(text->size())) return false;
  const auto size = static_cast<int64_t>(CountCharacters(text->bytes()));
  if (index < 0) index += size;
  if (index < 0 || index >= size) return false;
  const size_t begin = OffsetOf(text->bytes(), static_cast<size_t>(index));
  *out = run->Text(text->Slice(begin, begin + CharacterLength(text->bytes(), begin)));
  return true;
}

// A method or another Python attribute; false without one.
bool FindAttribute(Runtime* run, const Value& object, const std::string& name, Value* out) {
  if (NamespaceData* space = object.AsNamespace()) {
    const Value* member = space->Find(name);
    if (member != nullptr) *out = *member;
    return member != nullptr;
  }
  if (object.AsLoop() != nullptr) {
    *out = LoopAttribute(run, object, name);
    return !out->IsUndefined() || name == "previtem" || name == "nextitem";
  }
  if (!HasMethod(object, name)) return false;
  *out = BindMethod(object, name);
  return true;
}

bool FailOnUndefined(Runtime* run, const Value& object) {
  const Value::Undefined* undefined = object.AsUndefined();
  if (undefined == nullptr) return false;
  run->Fail(
      models::Concat("'", undefined->name == nullptr ? std::string_view("value") : *undefined->name, "' is undefined"));
  return true;
}

// A bound of a slice as Python clamps it.
int64_t Clamp(int64_t bound, int64_t size, bool backwards) {
  if (bound < 0) bound += size;
  const int64_t low = backwards ? -1 : 0;
  return std::clamp(bound, low, backwards ? size - 1 : size);
}

}  // namespace

Value GetAttribute(Runtime* run, const Value& object, const std::string& name) {
  if (run->failed() || FailOnUndefined(run, object)) return Value();
  Value out;
  if (FindAttribute(run, object, name, &out)) return out;
  if (const DictData* dict = object.AsDict()) {
    if (const Value* member = dict->Find(name)) return *member;
  }
  return Missing(&name);
}

Value GetItem(Runtime* run, const Value& object, const Value& key) {
  if (run->failed() || FailOnUndefined(run, object)) return Value();
  Value out;
  if (FindItem(run, object, key, &out)) return out;
  if (const MarkedText* name = key.AsText()) {
    if (FindAttribute(run, object, std::string(name->bytes()), &out)) return out;
  }
  return Missing(nullptr);
}

Value GetSlice(Runtime* run, const Value& object, const Value& begin, const Value& end, const Value& step_value) {
  if (run->failed() || FailOnUndefined(run, object)) return Value();
  const int64_t step = run->IntOr("a slice", step_value, 1);
  if (step == 0) return run->Fail("slice step cannot be zero");
  const MarkedText* text = object.AsText();
  const ListData* list = object.AsList();
  if (list != nullptr && list->kind != ListKind::kList && list->kind != ListKind::kTuple &&
      list->kind != ListKind::kRange)
    list = nullptr;
  if (text == nullptr && list == nullptr) return Missing(nullptr);
  if (text != nullptr && !run->SpendBytes(text->size())) return Value();
  const auto size = static_cast<int64_t>(text != nullptr ? CountCharacters(text->bytes()) : list->items.size());
  const bool backwards = step < 0;
  const auto bound = [&](const Value& value, int64_t fallback) {
    return value.IsUndefined() || value.IsNone() ? fallback : Clamp(run->IntOr("a slice", value, 0), size, backwards);
  };
  const int64_t from = bound(begin, backwards ? size - 1 : 0);
  const int64_t to = bound(end, backwards ? -1 : size);
  if (run->failed()) return Value();
  // Past an end of the range before it could overflow: a step beyond the size is as good as the size.
  const int64_t stride = std::clamp(step, -size - 1, size + 1);
  if (text != nullptr && stride == 1) {
    const size_t first = OffsetOf(text->bytes(), static_cast<size_t>(from));
    return run->Text(from < to ? text->Slice(first, OffsetOf(text->bytes(), static_cast<size_t>(to))) : MarkedText());
  }
  const auto inside = [&](int64_t i) { return backwards ? i > to : i < to; };
  if (text != nullptr) {
    std::vector<size_t> starts;
    if (!run->Reserve(text->size() * sizeof(size_t)) || !run->Spend(text->size())) return Value();
    for (size_t at = 0; at < text->size(); at += CharacterLength(text->bytes(), at)) starts.push_back(at);
    starts.push_back(text->size());
    MarkedText out;
    for (int64_t i = from; inside(i); i += stride)
      out.AppendSlice(*text, starts[static_cast<size_t>(i)], starts[static_cast<size_t>(i) + 1]);
    return run->Text(std::move(out));
  }
  std::vector<Value> items;
  for (int64_t i = from; inside(i); i += stride) items.push_back(list->items[static_cast<size_t>(i)]);
  return run->NewList(std::move(items), list->kind);
}

}  // namespace hadal::jinja
