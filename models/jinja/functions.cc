// SPDX-License-Identifier: Apache-2.0
// The functions that a template may call by name.
#include <algorithm>
#include <ctime>

#include "models/concat.h"
#include "models/jinja/builtins.h"
#include "models/jinja/format.h"

namespace hadal::jinja {
namespace {

constexpr int64_t kMaxRange = 100'000;  // as in Jinja's sandbox
constexpr size_t kMaxTimeBytes = 1000;

Value Range(Runtime* run, const CallArguments& arguments) {
  const auto bound = run->Bind("range", arguments, {"start", "stop", "step"}, 1);
  const bool one = arguments.positional.size() < 2;
  const int64_t start = one ? 0 : run->IntOr("range", bound[0], 0);
  const int64_t stop = run->IntOr("range", bound[one ? 0 : 1], 0);
  const int64_t step = run->IntOr("range", bound[2], 1);
  if (run->failed()) return Value();
  if (step == 0) return run->Fail("range() arg 3 must not be zero");
  const double count = (static_cast<double>(stop) - static_cast<double>(start)) / static_cast<double>(step);
  if (count > kMaxRange)
    return run->Fail(models::Concat("Range too big. The sandbox blocks ranges larger than ", kMaxRange));
  std::vector<Value> items;
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    items.push_back(Value::Int(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return run->NewList(std::move(items), ListKind::kRange);
}

// dict(pairs or dict, **named)
bool CollectPairs(Runtime* run, const CallArguments& arguments, DictData* out) {
  if (arguments.positional.size() > 1) {
    run->Fail("dict expected at most 1 argument");
    return false;
  }
  if (!arguments.positional.empty()) {
    const Value& source = arguments.positional[0];
    if (const DictData* dict = source.AsDict()) {
      for (const auto& [key, value] : dict->items) out->Set(key, value);
    } else {
      const List items = run->Items(source);
      if (items == nullptr) return false;
      for (const Value& item : items->items) {
        const List pair = run->Items(item);
        if (pair == nullptr || pair->items.size() != 2) {
          run->Fail("dict() wants pairs");
          return false;
        }
        out->Set(pair->items[0], pair->items[1]);
      }
    }
  }
  for (const auto& [name, value] : arguments.named) out->Set(Value::String(name, false), value);
  return run->Spend(out->items.size());
}

Value MakeNamespace(Runtime* run, const CallArguments& arguments) {
  DictData members;
  if (!CollectPairs(run, arguments, &members)) return Value();
  NamespaceData* space = run->NewNamespace();
  for (const auto& [key, value] : members.items) {
    const MarkedText* name = run->TextOf("namespace", key);
    if (name == nullptr) return Value();
    if (name->bytes().starts_with('_'))
      return run->Fail(models::Concat("a namespace cannot have '", name->bytes(), "': it begins with an underscore"));
    space->members.emplace_back(name->bytes(), value);
  }
  return space;
}

Value TimeNow(Runtime* run, const CallArguments& arguments) {
  const auto bound = run->Bind("strftime_now", arguments, {"format"}, 1);
  const MarkedText* format = run->TextOf("strftime_now", bound[0]);
  if (format == nullptr) return Value();
  if (format->empty()) return bound[0];
  const std::time_t now = run->limits().now != 0 ? run->limits().now : std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char text[kMaxTimeBytes];
  const size_t size = std::strftime(text, sizeof text, std::string(format->bytes()).c_str(), &local);
  if (size == 0) return run->Fail(models::Concat("strftime_now() gives more than ", kMaxTimeBytes, " bytes"));
  return run->Text(std::string(text, size));
}

Value RaiseException(Runtime* run, const CallArguments& arguments) {
  const auto bound = run->Bind("raise_exception", arguments, {"message"}, 1);
  MarkedText message;
  AppendStr(run, bound[0], &message);
  return run->Raise(message.bytes());
}

Value MakeDictValue(Runtime* run, const CallArguments& arguments) {
  DictData dict;
  return CollectPairs(run, arguments, &dict) ? run->NewDict(std::move(dict)) : Value();
}

struct NamedFunction {
  std::string_view name;
  Value (*call)(Runtime* run, const CallArguments& arguments);
};

constexpr NamedFunction kFunctions[] = {
    {"dict", MakeDictValue}, {"namespace", MakeNamespace}, {"raise_exception", RaiseException},
    {"range", Range},        {"strftime_now", TimeNow},
};

}  // namespace

bool IsFunction(std::string_view name) {
  return std::any_of(std::begin(kFunctions), std::end(kFunctions),
                     [&](const auto& known) { return known.name == name; });
}

Value CallFunction(Runtime* run, std::string_view name, const CallArguments& arguments) {
  if (run->failed() || !run->Spend(1)) return Value();
  for (const NamedFunction& known : kFunctions) {
    if (known.name == name) return known.call(run, arguments);
  }
  return run->Fail(models::Concat("no function named '", name, "'"));
}

}  // namespace hadal::jinja
