// SPDX-License-Identifier: Apache-2.0
// Filters over sequences and dicts.
#include <algorithm>

#include "models/concat.h"
#include "models/jinja/builtins.h"
#include "models/jinja/characters.h"
#include "models/jinja/format.h"
#include "models/jinja/item_getter.h"
#include "models/jinja/operators.h"

namespace hadal::jinja {
namespace {

using Arguments = CallArguments;

Value LengthFilter(Runtime* run, const Value& input, const Arguments& arguments) {
  run->Bind("length", arguments, {});
  if (const MarkedText* text = input.AsText()) {
    return run->SpendBytes(text->size()) ? Value::Int(static_cast<int64_t>(CountCharacters(text->bytes()))) : Value();
  }
  if (const DictData* dict = input.AsDict()) return Value::Int(static_cast<int64_t>(dict->items.size()));
  if (input.IsUndefined()) return Value::Int(0);
  if (const LoopState* loop = input.AsLoop()) return Value::Int(static_cast<int64_t>(loop->items->items.size()));
  const ListData* list = input.AsList();
  if (list == nullptr || list->kind == ListKind::kGenerator) {
    return run->Fail(models::Concat("object of type '", input.TypeName(), "' has no len()"));
  }
  return Value::Int(static_cast<int64_t>(list->items.size()));
}

Value ListFilter(Runtime* run, const Value& input, const Arguments& arguments) {
  run->Bind("list", arguments, {});
  const List items = run->Items(input);
  return items == nullptr ? Value() : run->NewList(items->items);
}

Value FirstFilter(Runtime* run, const Value& input, const Arguments& arguments) {
  run->Bind("first", arguments, {});
  if (const MarkedText* text = input.AsText()) {
    return text->empty() ? Value() : run->Text(text->Slice(0, CharacterLength(text->bytes(), 0)));
  }
  const List items = run->Items(input);
  return items == nullptr || items->items.empty() ? Value() : items->items.front();
}

Value LastFilter(Runtime* run, const Value& input, const Arguments& arguments) {
  run->Bind("last", arguments, {});
  if (input.AsList() != nullptr && input.AsList()->kind == ListKind::kGenerator) {
    return run->Fail("'generator' object is not reversible");
  }
  const List items = run->Items(input);
  return items == nullptr || items->items.empty() ? Value() : items->items.back();
}

Value ReverseFilter(Runtime* run, const Value& input, const Arguments& arguments) {
  run->Bind("reverse", arguments, {});
  if (input.IsText()) return GetSlice(run, input, Value(), Value(), Value::Int(-1));
  const List items = run->Items(input);
  if (items == nullptr) return Value();
  return run->NewList(std::vector<Value>(items->items.rbegin(), items->items.rend()), ListKind::kGenerator);
}

Value JoinFilter(Runtime* run, const Value& input, const Arguments& arguments) {
  const auto bound = run->Bind("join", arguments, {"d", "attribute"});
  const List items = run->Items(input);
  const Value delimiter = bound[0].IsUndefined() ? Value::String("", false) : Str(run, bound[0]);
  const ItemGetter getter(run, bound[1], Value());
  if (run->failed()) return Value();
  MarkedText out;
  bool first = true;
  for (const Value& item : items->items) {
    const MarkedText& between = *delimiter.AsText();
    if (!run->SpendBytes(between.size()) || !run->Reserve(out.size() + between.size())) return Value();
    if (!first) out.Append(between);
    first = false;
    AppendStr(run, getter.Get(item), &out);
  }
  return run->Text(std::move(out));
}

// Stable, by the attribute, upper and lower case equal unless told.
Value SortFilter(Runtime* run, const Value& input, const Arguments& arguments) {
  const auto bound = run->Bind("sort", arguments, {"reverse", "case_sensitive", "attribute"});
  const List items = run->Items(input);
  const ItemGetter getter(run, bound[2], Value(), !bound[1].IsTrue());
  if (run->failed()) return Value();
  return SortedBy(run, items->items, bound[0].IsTrue(), [&](const Value& item) { return getter.Get(item); });
}

Value ItemsOf(Runtime* run, const DictData& dict, ListKind kind) {
  std::vector<Value> items;
  for (const auto& [key, value] : dict.items) {
    items.push_back(run->NewList({key, value}, ListKind::kTuple));
    if (run->failed()) return Value();
  }
  return run->NewList(std::move(items), kind);
}

Value DictSortFilter(Runtime* run, const Value& input, const Arguments& arguments) {
  const auto bound = run->Bind("dictsort", arguments, {"case_sensitive", "by", "reverse"});
  const DictData* dict = input.AsDict();
  if (dict == nullptr) return run->Fail(models::Concat("dictsort wants a dict, not '", input.TypeName(), "'"));
  const std::string_view by = bound[1].IsText() ? bound[1].AsText()->bytes() : "key";
  if (by != "key" && by != "value") return run->Fail("You can only sort by either \"key\" or \"value\"");
  const Value pairs = ItemsOf(run, *dict, ListKind::kList);
  if (run->failed()) return Value();
  return SortedBy(run, pairs.AsList()->items, bound[2].IsTrue(), [&](const Value& pair) {
    const Value& key = pair.AsList()->items[by == "key" ? 0 : 1];
    return bound[0].IsTrue() ? key : FoldCase(run, key);
  });
}

Value ItemsFilter(Runtime* run, const Value& input, const Arguments& arguments) {
  run->Bind("items", arguments, {});
  if (input.IsUndefined()) return run->NewList({}, ListKind::kGenerator);
  const DictData* dict = input.AsDict();
  if (dict == nullptr) return run->Fail("Can only get item pairs from a mapping.");
  return ItemsOf(run, *dict, ListKind::kGenerator);
}

Value UniqueFilter(Runtime* run, const Value& input, const Arguments& arguments) {
  const auto bound = run->Bind("unique", arguments, {"case_sensitive", "attribute"});
  const List items = run->Items(input);
  const ItemGetter getter(run, bound[1], Value(), !bound[0].IsTrue());
  if (run->failed()) return Value();
  DictData seen;
  std::vector<Value> out;
  for (const Value& item : items->items) {
    Value key = getter.Get(item);
    if (run->failed() || !run->Spend(key.IsText() ? 1 : seen.items.size() + 1)) return Value();
    if (seen.Find(key) != nullptr) continue;
    seen.Set(std::move(key), Value::None{});
    out.push_back(item);
  }
  return run->NewList(std::move(out), ListKind::kGenerator);
}

template <bool kMax>
Value Extreme(Runtime* run, const Value& input, const Arguments& arguments) {
  const auto bound = run->Bind(kMax ? "max" : "min", arguments, {"case_sensitive", "attribute"});
  const List items = run->Items(input);
  const ItemGetter getter(run, bound[1], Value(), !bound[0].IsTrue());
  if (run->failed() || items->items.empty()) return Value();
  const Value* best = &items->items.front();
  Value best_key = getter.Get(*best);
  for (const Value& item : items->items) {
    Value key = getter.Get(item);
    if (!(kMax ? Less(run, best_key, key) : Less(run, key, best_key))) continue;
    best = &item;
    best_key = std::move(key);
  }
  return *best;
}

Value SumFilter(Runtime* run, const Value& input, const Arguments& arguments) {
  const auto bound = run->Bind("sum", arguments, {"attribute", "start"});
  const List items = run->Items(input);
  const ItemGetter getter(run, bound[0], Value());
  if (run->failed()) return Value();
  Value sum = bound[1].IsUndefined() ? Value::Int(0) : bound[1];
  for (const Value& item : items->items) sum = Arithmetic(run, BinaryOp::kAdd, sum, getter.Get(item));
  return sum;
}

Value BatchFilter(Runtime* run, const Value& input, const Arguments& arguments) {
  const auto bound = run->Bind("batch", arguments, {"linecount", "fill_with"}, 1);
  const List items = run->Items(input);
  const int64_t size = run->IntOr("batch", bound[0], 0);
  if (run->failed()) return Value();
  if (size < 1) return run->Fail("batch() wants a linecount of 1 or more");
  std::vector<Value> batches, batch;
  const auto flush = [&] {
    batches.push_back(run->NewList(std::exchange(batch, {})));
    return !run->failed();
  };
  for (const Value& item : items->items) {
    if (static_cast<int64_t>(batch.size()) == size && !flush()) return Value();
    batch.push_back(item);
  }
  const bool fills = !bound[1].IsUndefined() && !bound[1].IsNone();
  while (fills && !batch.empty() && static_cast<int64_t>(batch.size()) < size && run->Spend(1))
    batch.push_back(bound[1]);
  if (!batch.empty()) flush();
  return run->NewList(std::move(batches), ListKind::kGenerator);
}

Value AttrFilter(Runtime* run, const Value& input, const Arguments& arguments) {
  const auto bound = run->Bind("attr", arguments, {"name"}, 1);
  const MarkedText* name = run->TextOf("attr", bound[0]);
  // Attributes alone, not items: what has none of them is a dict or a list.
  if (run->failed() || !HasMethod(input, name->bytes())) {
    const NamespaceData* space = run->failed() ? nullptr : input.AsNamespace();
    return space == nullptr ? Value() : GetItem(run, input, bound[0]);
  }
  return BindMethod(input, name->bytes());
}

}  // namespace

absl::Span<const NamedFilter> ListFilters() {
  static constexpr NamedFilter kFilters[] = {
      {"attr", AttrFilter},       {"batch", BatchFilter}, {"count", LengthFilter}, {"dictsort", DictSortFilter},
      {"first", FirstFilter},     {"items", ItemsFilter}, {"join", JoinFilter},    {"last", LastFilter},
      {"length", LengthFilter},   {"list", ListFilter},   {"max", Extreme<true>},  {"min", Extreme<false>},
      {"reverse", ReverseFilter}, {"sort", SortFilter},   {"sum", SumFilter},      {"unique", UniqueFilter},
  };
  return kFilters;
}

}  // namespace hadal::jinja
