// SPDX-License-Identifier: Apache-2.0
#include "models/jinja/runtime.h"

#include <algorithm>

#include "models/jinja/characters.h"

namespace hadal::jinja {
namespace {

constexpr size_t kMaxMessageBytes = 1000;
constexpr size_t kTextOverhead = 96;

struct CountedText {
  MarkedText text;
  MemoryCharge charge;
};

}  // namespace

Value Runtime::Fail(std::string_view what) {
  if (status_.ok()) {
    status_ = absl::InvalidArgumentError(
        models::Concat("chat template, line ", line_, ": ", CutAtCharacter(what, kMaxMessageBytes)));
  }
  return Value();
}

Value Runtime::Raise(std::string_view message) {
  if (status_.ok()) status_ = absl::InvalidArgumentError(std::string(CutAtCharacter(message, kMaxMessageBytes)));
  return Value();
}

bool Runtime::Spend(size_t steps) {
  steps_ += steps;
  if (steps_ > limits_.max_steps) Fail(models::Concat("it takes more than ", limits_.max_steps, " steps"));
  return status_.ok();
}

bool Runtime::Same(const Value& a, const Value& b) {
  if (failed()) return false;
  const uint64_t left = limits_.max_steps - std::min(steps_, limits_.max_steps);
  uint64_t rest = left;
  const bool same = Equal(a, b, &rest);
  return Spend(left - rest + (rest == 0 ? 1 : 0)) && same;
}

bool Runtime::Reserve(size_t bytes) {
  if (!memory_.Fits(bytes)) Fail(models::Concat("its values take more than ", memory_.limit(), " bytes"));
  return status_.ok();
}

Value Runtime::Text(MarkedText text, bool markup) {
  const size_t bytes = text.size() + kTextOverhead;
  if (!SpendBytes(bytes) || !Reserve(bytes)) return Value();
  const auto counted = std::make_shared<CountedText>(CountedText{std::move(text), MemoryCharge(&memory_, bytes)});
  return Value::Text{std::shared_ptr<const MarkedText>(counted, &counted->text), markup};
}

Value Runtime::NewList(std::vector<Value> items, ListKind kind) {
  const size_t bytes = items.size() * sizeof(Value) + kTextOverhead;
  if (!Spend(items.size()) || !Reserve(bytes)) return Value();
  List list = MakeList(std::move(items), kind);
  if (list->depth > kMaxValueDepth)
    return Fail(models::Concat("a list is nested more than ", kMaxValueDepth, " levels deep"));
  const_cast<ListData&>(*list).charge = MemoryCharge(&memory_, bytes);
  return list;
}

Value Runtime::NewDict(DictData dict) {
  const size_t bytes = dict.items.size() * (2 * sizeof(Value) + 16) + kTextOverhead;
  if (!Spend(dict.items.size()) || !Reserve(bytes)) return Value();
  if (dict.depth > kMaxValueDepth)
    return Fail(models::Concat("a dict is nested more than ", kMaxValueDepth, " levels deep"));
  dict.charge = MemoryCharge(&memory_, bytes);
  return Dict(std::make_shared<const DictData>(std::move(dict)));
}

NamespaceData* Runtime::NewNamespace() {
  Reserve(kTextOverhead);
  namespaces_.push_back(std::make_unique<NamespaceData>());
  return namespaces_.back().get();
}

List Runtime::Items(const Value& value) {
  if (failed()) return nullptr;
  if (List list = value.SharedList()) {
    if (list->kind != ListKind::kGenerator) return list;
    static const List kNothing = MakeList({});
    if (list->consumed) return kNothing;
    list->consumed = true;
    return list;
  }
  std::vector<Value> items;
  if (const DictData* dict = value.AsDict()) {
    items.reserve(dict->items.size());
    for (const auto& [key, unused] : dict->items) items.push_back(key);
  } else if (const MarkedText* text = value.AsText()) {
    if (!Reserve(text->size() * (sizeof(Value) + kTextOverhead))) return nullptr;
    for (size_t at = 0; at < text->size();) {
      const size_t end = at + CharacterLength(text->bytes(), at);
      items.push_back(Text(text->Slice(at, end)));
      if (failed()) return nullptr;
      at = end;
    }
  } else if (!value.IsUndefined()) {
    Fail(models::Concat("'", value.TypeName(), "' object is not iterable"));
    return nullptr;
  }
  return NewList(std::move(items)).SharedList();
}

std::vector<Value> Runtime::Bind(std::string_view what, const CallArguments& arguments,
                                 std::initializer_list<std::string_view> names, size_t required) {
  std::vector<Value> out(names.size());
  if (arguments.positional.size() > names.size()) {
    Fail(
        models::Concat(what, "() takes at most ", names.size(), " arguments, ", arguments.positional.size(), " given"));
    return out;
  }
  std::vector<bool> given(names.size());
  for (size_t i = 0; i < arguments.positional.size(); ++i) {
    out[i] = arguments.positional[i];
    given[i] = true;
  }
  for (const auto& [name, value] : arguments.named) {
    const auto at = static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin());
    if (at == names.size()) {
      Fail(models::Concat(what, "() has no argument '", name, "'"));
      return out;
    }
    out[at] = value;
    given[at] = true;
  }
  for (size_t i = 0; i < required; ++i) {
    if (!given[i]) Fail(models::Concat(what, "() misses its argument '", *(names.begin() + i), "'"));
  }
  return out;
}

int64_t Runtime::IntOr(std::string_view what, const Value& value, int64_t fallback) {
  if (value.IsUndefined() || value.IsNone()) return fallback;
  int64_t number = fallback;
  if (!value.ToInt(&number)) Fail(models::Concat(what, "() wants an int, not '", value.TypeName(), "'"));
  return number;
}

const MarkedText* Runtime::TextOf(std::string_view what, const Value& value) {
  const MarkedText* text = value.AsText();
  if (text == nullptr) Fail(models::Concat(what, "() wants a str, not '", value.TypeName(), "'"));
  return text;
}

}  // namespace hadal::jinja
