// SPDX-License-Identifier: Apache-2.0
// Filters that apply another filter or a test to each item: map, select, reject, selectattr, rejectattr.
#include "models/concat.h"
#include "models/jinja/builtins.h"
#include "models/jinja/item_getter.h"

namespace hadal::jinja {
namespace {

// The arguments after the first `count` positional ones.
CallArguments Rest(const CallArguments& arguments, size_t count) {
  CallArguments rest;
  rest.positional.assign(arguments.positional.begin() + static_cast<ptrdiff_t>(count), arguments.positional.end());
  rest.named = arguments.named;
  return rest;
}

Value MapFilter(Runtime* run, const Value& input, const CallArguments& arguments) {
  if (!input.IsTrue()) return run->NewList({}, ListKind::kGenerator);  // None too
  const List items = run->Items(input);
  if (items == nullptr) return Value();
  std::vector<Value> out;
  if (!arguments.positional.empty()) {
    const MarkedText* name = run->TextOf("map", arguments.positional[0]);
    if (name == nullptr) return Value();
    if (!IsFilter(name->bytes())) return run->Fail(models::Concat("no filter named '", name->bytes(), "'"));
    const CallArguments rest = Rest(arguments, 1);
    for (const Value& item : items->items) {
      out.push_back(ApplyFilter(run, name->bytes(), item, rest));
      if (run->failed()) return Value();
    }
  } else {
    const auto bound = run->Bind("map", arguments, {"attribute", "default"}, 1);
    const ItemGetter getter(run, bound[0], bound[1]);
    for (const Value& item : items->items) {
      out.push_back(getter.Get(item));
      if (run->failed()) return Value();
    }
  }
  return run->NewList(std::move(out), ListKind::kGenerator);
}

template <bool kKeep, bool kAttribute>
Value SelectFilter(Runtime* run, const Value& input, const CallArguments& arguments) {
  constexpr size_t kTestAt = kAttribute ? 1 : 0;
  if (!input.IsTrue()) return run->NewList({}, ListKind::kGenerator);
  const List items = run->Items(input);
  if (items == nullptr) return Value();
  if (arguments.positional.size() < kTestAt) return run->Fail("Missing parameter for attribute name");
  const ItemGetter getter(run, kAttribute ? arguments.positional[0] : Value(), Value());
  const bool tests = arguments.positional.size() > kTestAt;
  const MarkedText* test = tests ? run->TextOf("select", arguments.positional[kTestAt]) : nullptr;
  if (run->failed()) return Value();
  if (tests && !IsTest(test->bytes())) return run->Fail(models::Concat("no test named '", test->bytes(), "'"));
  const CallArguments rest = tests ? Rest(arguments, kTestAt + 1) : CallArguments();
  std::vector<Value> out;
  for (const Value& item : items->items) {
    const Value value = getter.Get(item);
    const bool holds = tests ? ApplyTest(run, test->bytes(), value, rest) : value.IsTrue();
    if (run->failed()) return Value();
    if (holds == kKeep) out.push_back(item);
  }
  return run->NewList(std::move(out), ListKind::kGenerator);
}

}  // namespace

absl::Span<const NamedFilter> SelectionFilters() {
  static constexpr NamedFilter kFilters[] = {
      {"map", MapFilter},
      {"reject", SelectFilter<false, false>},
      {"rejectattr", SelectFilter<false, true>},
      {"select", SelectFilter<true, false>},
      {"selectattr", SelectFilter<true, true>},
  };
  return kFilters;
}

}  // namespace hadal::jinja
