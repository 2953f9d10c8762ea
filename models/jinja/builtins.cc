// SPDX-License-Identifier: Apache-2.0
#include "models/jinja/builtins.h"

#include <algorithm>
#include <unordered_map>

#include "models/concat.h"
#include "models/jinja/format.h"

namespace hadal::jinja {
namespace {

using Table = std::unordered_map<std::string_view, const NamedFilter*>;

const Table& Filters() {
  static const Table table = [] {
    Table all;
    for (const auto& part : {TextFilters(), ListFilters(), SelectionFilters()}) {
      for (const NamedFilter& filter : part) all.emplace(filter.name, &filter);
    }
    return all;
  }();
  return table;
}

const Table& StrMethods() {
  static const Table table = [] {
    Table all;
    for (const NamedFilter& method : TextMethods()) all.emplace(method.name, &method);
    return all;
  }();
  return table;
}

constexpr std::string_view kDictMethods[] = {"copy", "get", "items", "keys", "values"};
constexpr std::string_view kDictChanges[] = {"clear", "pop", "popitem", "setdefault", "update"};
constexpr std::string_view kListMethods[] = {"copy", "count", "index"};
constexpr std::string_view kListChanges[] = {"append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"};
constexpr std::string_view kLoopMethods[] = {"changed", "cycle"};

// The name in the table, whose text lives forever; empty without it.
template <size_t kSize>
std::string_view Among(const std::string_view (&names)[kSize], std::string_view name) {
  const auto* found = std::find(std::begin(names), std::end(names), name);
  return found == std::end(names) ? std::string_view() : *found;
}

std::string_view MethodName(const Value& receiver, std::string_view name) {
  if (receiver.IsText()) {
    const auto found = StrMethods().find(name);
    return found == StrMethods().end() ? std::string_view() : found->first;
  }
  if (receiver.AsDict() != nullptr) {
    const std::string_view reads = Among(kDictMethods, name);
    return reads.empty() ? Among(kDictChanges, name) : reads;
  }
  if (const ListData* list = receiver.AsList()) {
    const bool is_list = list->kind == ListKind::kList;
    if (!is_list && list->kind != ListKind::kTuple) return {};
    const std::string_view reads = Among(kListMethods, name);
    return !reads.empty() || !is_list ? reads : Among(kListChanges, name);
  }
  return receiver.AsLoop() != nullptr ? Among(kLoopMethods, name) : std::string_view();
}

Value CallDictMethod(Runtime* run, const Value& receiver, std::string_view name, const CallArguments& arguments) {
  const DictData& dict = *receiver.AsDict();
  if (name == "get") {
    const auto bound = run->Bind("get", arguments, {"key", "default"}, 1);
    const Value* found = run->Spend(1) ? dict.Find(bound[0]) : nullptr;
    if (found != nullptr) return *found;
    return arguments.positional.size() + arguments.named.size() > 1 ? bound[1] : Value(Value::None{});
  }
  run->Bind(name, arguments, {});
  if (name == "copy") return receiver;
  std::vector<Value> out;
  if (!run->Spend(dict.items.size())) return Value();
  for (const auto& [key, value] : dict.items) {
    out.push_back(name == "keys" ? key : name == "values" ? value : run->NewList({key, value}, ListKind::kTuple));
    if (run->failed()) return Value();
  }
  return run->NewList(std::move(out), name == "keys"     ? ListKind::kKeys
                                      : name == "values" ? ListKind::kValues
                                                         : ListKind::kItems);
}

Value CallListMethod(Runtime* run, const Value& receiver, std::string_view name, const CallArguments& arguments) {
  if (name == "copy") return receiver;
  const auto bound = run->Bind(name, arguments, {"value"}, 1);
  const std::vector<Value>& items = receiver.AsList()->items;
  if (!run->Spend(items.size())) return Value();
  const auto is = [&](const Value& item) { return run->Same(item, bound[0]); };
  if (name == "count") return Value::Int(std::count_if(items.begin(), items.end(), is));
  const auto found = std::find_if(items.begin(), items.end(), is);
  return found == items.end() ? run->Fail("the value is not in the list") : Value::Int(found - items.begin());
}

Value CallLoopMethod(Runtime* run, const Value& receiver, std::string_view name, const CallArguments& arguments) {
  LoopState& loop = *receiver.AsLoop();
  if (name == "cycle") {
    if (arguments.positional.empty()) return run->Fail("no items for cycling given");
    return arguments.positional[loop.index % arguments.positional.size()];
  }
  const bool same = loop.changed_before && loop.last_changed.size() == arguments.positional.size() &&
                    std::equal(loop.last_changed.begin(), loop.last_changed.end(), arguments.positional.begin(),
                               [&](const Value& a, const Value& b) { return run->Same(a, b); });
  loop.changed_before = true;
  loop.last_changed = arguments.positional;
  return Value::Bool(!same);
}

}  // namespace

bool IsFilter(std::string_view name) { return Filters().contains(name); }

Value ApplyFilter(Runtime* run, std::string_view name, const Value& input, const CallArguments& arguments) {
  if (run->failed() || !run->Spend(1)) return Value();
  const auto found = Filters().find(name);
  if (found == Filters().end()) return run->Fail(models::Concat("no filter named '", name, "'"));
  return found->second->apply(run, input, arguments);
}

bool HasMethod(const Value& receiver, std::string_view name) { return !MethodName(receiver, name).empty(); }

Value BindMethod(const Value& receiver, std::string_view name) {
  auto bound = std::make_shared<Callable>();
  bound->kind = Callable::Kind::kMethod;
  bound->name = MethodName(receiver, name);
  bound->receiver = receiver;
  return std::shared_ptr<const Callable>(std::move(bound));
}

Value CallMethod(Runtime* run, const Value& receiver, std::string_view name, const CallArguments& arguments) {
  if (run->failed() || !run->Spend(1)) return Value();
  if (receiver.IsText()) return StrMethods().at(name)->apply(run, receiver, arguments);
  if (receiver.AsLoop() != nullptr) return CallLoopMethod(run, receiver, name, arguments);
  const bool dict = receiver.AsDict() != nullptr;
  const bool changes = dict ? !Among(kDictChanges, name).empty() : !Among(kListChanges, name).empty();
  if (changes) {
    return run->Fail(models::Concat("access to attribute '", name, "' of '", receiver.TypeName(),
                                    "' object is unsafe: templates change no values but namespaces"));
  }
  return dict ? CallDictMethod(run, receiver, name, arguments) : CallListMethod(run, receiver, name, arguments);
}

}  // namespace hadal::jinja
