// SPDX-License-Identifier: Apache-2.0
// What may stand after "is".
#include <algorithm>
#include <cmath>

#include "models/concat.h"
#include "models/jinja/builtins.h"
#include "models/jinja/characters.h"
#include "models/jinja/operators.h"

namespace hadal::jinja {
namespace {

using Test = bool (*)(Runtime* run, const Value& value, const Value& argument);

bool IsSequence(const Value& value) {
  const ListData* list = value.AsList();
  if (list != nullptr)
    return list->kind == ListKind::kList || list->kind == ListKind::kTuple || list->kind == ListKind::kRange;
  return value.IsText() || value.AsDict() != nullptr || value.IsUndefined();
}

bool IsIterable(const Value& value) {
  return value.AsList() != nullptr || value.IsText() || value.AsDict() != nullptr || value.IsUndefined() ||
         value.AsLoop() != nullptr;
}

bool Remainder(Runtime* run, const Value& value, int64_t by, int64_t wanted) {
  const Value rest = Arithmetic(run, BinaryOp::kMod, value, Value::Int(by));
  return run->Same(rest, Value::Int(wanted));
}

template <bool kUpper>
bool HasCase(Runtime* run, const Value& value, const Value&) {
  const MarkedText* text = value.AsText();
  if (text == nullptr || !run->SpendBytes(text->size() * 8)) return false;
  bool any = false, all = true;
  ForEachCharacter(text->bytes(), [&](char32_t c, size_t, size_t) {
    const bool upper = ToLower(c) != c;
    const bool lower = ToUpper(c) != c;
    any |= kUpper ? upper : lower;
    return all = kUpper ? !lower : !upper;
  });
  return any && all;
}

bool SameAs(Runtime* run, const Value& a, const Value& b) {
  if (a.IsNone() || b.IsNone()) return a.IsNone() && b.IsNone();
  if (a.IsBool() || b.IsBool()) return a.IsBool() && b.IsBool() && *a.AsBool() == *b.AsBool();
  if (a.IsText() && b.IsText()) return a.AsText() == b.AsText();
  if (a.IsNumber()) return a.TypeName() == b.TypeName() && run->Same(a, b);  // small ints are one object in Python
  return (a.AsList() != nullptr && a.AsList() == b.AsList()) || (a.AsDict() != nullptr && a.AsDict() == b.AsDict()) ||
         (a.AsNamespace() != nullptr && a.AsNamespace() == b.AsNamespace());
}

template <CompareOp kOp>
bool Compared(Runtime* run, const Value& a, const Value& b) {
  return Compare(run, kOp, a, b);
}

template <bool (*kExists)(std::string_view)>
bool Exists(Runtime*, const Value& value, const Value&) {
  return value.IsText() && kExists(value.AsText()->bytes());
}

struct NamedTest {
  std::string_view name;
  int arguments;
  Test test;
};

constexpr NamedTest kTests[] = {
    {"boolean", 0, [](Runtime*, const Value& v, const Value&) { return v.IsBool(); }},
    {"callable", 0,
     [](Runtime*, const Value& v, const Value&) { return v.AsCallable() != nullptr || v.AsLoop() != nullptr; }},
    {"defined", 0, [](Runtime*, const Value& v, const Value&) { return !v.IsUndefined(); }},
    {"undefined", 0, [](Runtime*, const Value& v, const Value&) { return v.IsUndefined(); }},
    {"divisibleby", 1,
     [](Runtime* run, const Value& v, const Value& by) {
       return run->Same(Arithmetic(run, BinaryOp::kMod, v, by), Value::Int(0));
     }},
    {"escaped", 0, [](Runtime*, const Value& v, const Value&) { return v.IsMarkup(); }},
    {"even", 0, [](Runtime* run, const Value& v, const Value&) { return Remainder(run, v, 2, 0); }},
    {"odd", 0, [](Runtime* run, const Value& v, const Value&) { return Remainder(run, v, 2, 1); }},
    {"true", 0, [](Runtime*, const Value& v, const Value&) { return v.IsBool() && *v.AsBool(); }},
    {"false", 0, [](Runtime*, const Value& v, const Value&) { return v.IsBool() && !*v.AsBool(); }},
    {"filter", 0, Exists<IsFilter>},
    {"test", 0, Exists<IsTest>},
    {"float", 0, [](Runtime*, const Value& v, const Value&) { return v.IsFloat(); }},
    {"integer", 0, [](Runtime*, const Value& v, const Value&) { return v.IsInt(); }},
    {"number", 0, [](Runtime*, const Value& v, const Value&) { return v.IsNumber(); }},
    {"in", 1, [](Runtime* run, const Value& v, const Value& items) { return Contains(run, items, v); }},
    {"iterable", 0, [](Runtime*, const Value& v, const Value&) { return IsIterable(v); }},
    {"sequence", 0, [](Runtime*, const Value& v, const Value&) { return IsSequence(v); }},
    {"mapping", 0, [](Runtime*, const Value& v, const Value&) { return v.AsDict() != nullptr; }},
    {"string", 0, [](Runtime*, const Value& v, const Value&) { return v.IsText(); }},
    {"lower", 0, HasCase<false>},
    {"upper", 0, HasCase<true>},
    {"none", 0, [](Runtime*, const Value& v, const Value&) { return v.IsNone(); }},
    {"sameas", 1, SameAs},
    {"eq", 1, Compared<CompareOp::kEq>},
    {"equalto", 1, Compared<CompareOp::kEq>},
    {"==", 1, Compared<CompareOp::kEq>},
    {"ne", 1, Compared<CompareOp::kNe>},
    {"!=", 1, Compared<CompareOp::kNe>},
    {"lt", 1, Compared<CompareOp::kLt>},
    {"lessthan", 1, Compared<CompareOp::kLt>},
    {"<", 1, Compared<CompareOp::kLt>},
    {"le", 1, Compared<CompareOp::kLe>},
    {"<=", 1, Compared<CompareOp::kLe>},
    {"gt", 1, Compared<CompareOp::kGt>},
    {"greaterthan", 1, Compared<CompareOp::kGt>},
    {">", 1, Compared<CompareOp::kGt>},
    {"ge", 1, Compared<CompareOp::kGe>},
    {">=", 1, Compared<CompareOp::kGe>},
};

const NamedTest* FindTest(std::string_view name) {
  const auto* found =
      std::find_if(std::begin(kTests), std::end(kTests), [&](const NamedTest& test) { return test.name == name; });
  return found == std::end(kTests) ? nullptr : found;
}

}  // namespace

bool IsTest(std::string_view name) { return FindTest(name) != nullptr; }

bool ApplyTest(Runtime* run, std::string_view name, const Value& value, const CallArguments& arguments) {
  const NamedTest* test = FindTest(name);
  if (run->failed() || !run->Spend(1)) return false;
  if (test == nullptr) {
    run->Fail(models::Concat("no test named '", name, "'"));
    return false;
  }
  if (static_cast<int>(arguments.positional.size()) != test->arguments || !arguments.named.empty()) {
    run->Fail(models::Concat("the test '", name, "' takes ", test->arguments, " arguments"));
    return false;
  }
  return test->test(run, value, test->arguments == 0 ? Value() : arguments.positional[0]);
}

}  // namespace hadal::jinja
