// SPDX-License-Identifier: Apache-2.0
#include "models/jinja/operators.h"

#include <cmath>

#include "models/concat.h"
#include "models/jinja/characters.h"
#include "models/jinja/format.h"

namespace hadal::jinja {
namespace {

constexpr std::string_view kOpNames[] = {"+", "-", "*", "/", "//", "%", "**"};

Value OutOfRange(Runtime* run) { return run->Fail("the result of an operation is out of the range of 64 bits"); }

Value IntArithmetic(Runtime* run, BinaryOp op, int64_t a, int64_t b) {
  int64_t out = 0;
  switch (op) {
    case BinaryOp::kAdd:
      return __builtin_add_overflow(a, b, &out) ? OutOfRange(run) : Value::Int(out);
    case BinaryOp::kSub:
      return __builtin_sub_overflow(a, b, &out) ? OutOfRange(run) : Value::Int(out);
    case BinaryOp::kMul:
      return __builtin_mul_overflow(a, b, &out) ? OutOfRange(run) : Value::Int(out);
    case BinaryOp::kDiv:
      if (b == 0) return run->Fail("division by zero");
      return Value::Float(static_cast<double>(a) / static_cast<double>(b));
    case BinaryOp::kFloorDiv:
    case BinaryOp::kMod: {
      if (b == 0) return run->Fail("integer division or modulo by zero");
      if (b == -1) return op == BinaryOp::kMod ? Value::Int(0) : IntArithmetic(run, BinaryOp::kSub, 0, a);
      int64_t quotient = a / b;
      int64_t rest = a % b;
      if (rest != 0 && (rest < 0) != (b < 0)) {
        --quotient;
        rest += b;
      }
      return Value::Int(op == BinaryOp::kMod ? rest : quotient);
    }
    case BinaryOp::kPow: {
      if (b < 0) return Value::Float(std::pow(static_cast<double>(a), static_cast<double>(b)));
      int64_t power = 1;
      if (a == 1 || a == 0 || a == -1) return Value::Int(b == 0 ? 1 : a == -1 && b % 2 == 0 ? 1 : a);
      for (int64_t i = 0; i < b; ++i) {
        if (__builtin_mul_overflow(power, a, &power)) return OutOfRange(run);
      }
      return Value::Int(power);
    }
  }
  return Value();
}

Value FloatArithmetic(Runtime* run, BinaryOp op, double a, double b) {
  switch (op) {
    case BinaryOp::kAdd:
      return Value::Float(a + b);
    case BinaryOp::kSub:
      return Value::Float(a - b);
    case BinaryOp::kMul:
      return Value::Float(a * b);
    case BinaryOp::kPow:
      return Value::Float(std::pow(a, b));
    default:
      break;
  }
  if (b == 0) return run->Fail("float division by zero");
  if (op == BinaryOp::kDiv) return Value::Float(a / b);
  double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
  return op == BinaryOp::kMod ? Value::Float(rest) : Value::Float(std::floor(a / b));
}

Value Repeat(Runtime* run, const Value& value, int64_t count) {
  if (count <= 0) count = 0;
  if (const MarkedText* text = value.AsText()) {
    if (count > 0 && text->size() > run->limits().max_memory_bytes / static_cast<size_t>(count)) {
      run->Reserve(run->limits().max_memory_bytes + 1);
      return Value();
    }
    if (!run->SpendBytes(text->size() * static_cast<size_t>(count))) return Value();
    MarkedText out;
    if (!text->empty()) {
      for (int64_t i = 0; i < count; ++i) out.Append(*text);
    }
    return run->Text(std::move(out));
  }
  const ListData* list = value.AsList();
  if (count > 0 && list->items.size() > run->limits().max_steps / static_cast<uint64_t>(count)) {
    run->Spend(run->limits().max_steps);
    return run->Fail("a list is repeated too often");
  }
  if (!run->Spend(list->items.size() * static_cast<size_t>(count))) return Value();
  if (!run->Reserve(list->items.size() * static_cast<size_t>(count) * sizeof(Value))) return Value();
  std::vector<Value> items;
  for (int64_t i = 0; i < count && !list->items.empty(); ++i) {
    items.insert(items.end(), list->items.begin(), list->items.end());
  }
  return run->NewList(std::move(items), list->kind);
}

bool IsSequence(const ListData* list) {
  return list != nullptr && (list->kind == ListKind::kList || list->kind == ListKind::kTuple);
}

MarkedText Escaped(const MarkedText& text) {
  MarkedText out;
  for (size_t at = 0; at < text.size(); ++at) {
    const char c = text.bytes()[at];
    const std::string_view entity = c == '&'    ? "&amp;"
                                    : c == '<'  ? "&lt;"
                                    : c == '>'  ? "&gt;"
                                    : c == '"'  ? "&#34;"
                                    : c == '\'' ? "&#39;"
                                                : "";
    if (entity.empty()) {
      out.AppendSlice(text, at, at + 1);
    } else {
      out.Append(entity, text.IsInput(at));
    }
  }
  return out;
}

Value Add(Runtime* run, const Value& a, const Value& b) {
  const MarkedText* left = a.AsText();
  const MarkedText* right = b.AsText();
  if (left != nullptr && right != nullptr) {
    if (!run->Reserve(left->size() + right->size())) return Value();
    const bool markup = a.IsMarkup() || b.IsMarkup();
    MarkedText out = markup && !a.IsMarkup() ? Escaped(*left) : *left;
    out.Append(markup && !b.IsMarkup() ? Escaped(*right) : *right);
    return run->Text(std::move(out), markup);
  }
  const ListData* first = a.AsList();
  const ListData* second = b.AsList();
  if (IsSequence(first) && IsSequence(second) && first->kind == second->kind) {
    if (!run->Reserve((first->items.size() + second->items.size()) * sizeof(Value))) return Value();
    std::vector<Value> items = first->items;
    items.insert(items.end(), second->items.begin(), second->items.end());
    return run->NewList(std::move(items), first->kind);
  }
  if (left != nullptr) return run->Fail(models::Concat("can only concatenate str (not \"", b.TypeName(), "\") to str"));
  return run->Fail(models::Concat("unsupported operand types for +: '", a.TypeName(), "' and '", b.TypeName(), "'"));
}

bool FailUndefined(Runtime* run, const Value& value) {
  const Value::Undefined* undefined = value.AsUndefined();
  if (undefined == nullptr) return false;
  run->Fail(
      models::Concat("'", undefined->name == nullptr ? std::string_view("value") : *undefined->name, "' is undefined"));
  return true;
}

// -1, 0 or 1; fails for values that have no order.
int Order(Runtime* run, const Value& a, const Value& b) {
  int64_t ia = 0, ib = 0;
  if (a.ToInt(&ia) && b.ToInt(&ib)) return ia < ib ? -1 : ia > ib ? 1 : 0;
  double da = 0, db = 0;
  if (a.ToDouble(&da) && b.ToDouble(&db)) return da < db ? -1 : da > db ? 1 : 0;
  if (a.IsText() && b.IsText()) {
    const int order = a.AsText()->bytes().compare(b.AsText()->bytes());
    return order < 0 ? -1 : order > 0 ? 1 : 0;
  }
  const ListData* first = a.AsList();
  const ListData* second = b.AsList();
  if (IsSequence(first) && IsSequence(second) && first->kind == second->kind) {
    for (size_t i = 0; i < first->items.size() && i < second->items.size(); ++i) {
      if (!run->Spend(1)) return 0;
      if (!run->Same(first->items[i], second->items[i])) return Order(run, first->items[i], second->items[i]);
    }
    return first->items.size() < second->items.size() ? -1 : first->items.size() > second->items.size() ? 1 : 0;
  }
  if (!FailUndefined(run, a) && !FailUndefined(run, b)) {
    run->Fail(models::Concat("no order between '", a.TypeName(), "' and '", b.TypeName(), "'"));
  }
  return 0;
}

}  // namespace

Value Arithmetic(Runtime* run, BinaryOp op, const Value& a, const Value& b) {
  if (run->failed() || FailUndefined(run, a)) return Value();
  if (op == BinaryOp::kMod && a.IsText()) return FormatPercent(run, *a.AsText(), b);
  if (FailUndefined(run, b)) return Value();
  int64_t ia = 0, ib = 0;
  if (a.ToInt(&ia) && b.ToInt(&ib)) return IntArithmetic(run, op, ia, ib);
  double da = 0, db = 0;
  if (a.ToDouble(&da) && b.ToDouble(&db)) return FloatArithmetic(run, op, da, db);
  if (op == BinaryOp::kAdd) return Add(run, a, b);
  if (op == BinaryOp::kMul) {
    const auto repeats = [](const Value& value) { return value.IsText() || IsSequence(value.AsList()); };
    if (repeats(a) && b.ToInt(&ib)) return Repeat(run, a, ib);
    if (repeats(b) && a.ToInt(&ia)) return Repeat(run, b, ia);
  }
  return run->Fail(models::Concat("unsupported operand types for ", kOpNames[static_cast<size_t>(op)], ": '",
                                  a.TypeName(), "' and '", b.TypeName(), "'"));
}

Value Negate(Runtime* run, const Value& value) {
  if (FailUndefined(run, value)) return Value();
  if (const double* number = value.AsFloat()) return Value::Float(-*number);
  int64_t number = 0;
  if (value.ToInt(&number)) return IntArithmetic(run, BinaryOp::kSub, 0, number);
  return run->Fail(models::Concat("bad operand type for unary -: '", value.TypeName(), "'"));
}

bool Less(Runtime* run, const Value& a, const Value& b) { return Order(run, a, b) < 0; }

bool Compare(Runtime* run, CompareOp op, const Value& a, const Value& b) {
  const auto is_nan = [](const Value& value) { return value.AsFloat() != nullptr && std::isnan(*value.AsFloat()); };
  switch (op) {
    case CompareOp::kEq:
      return run->Same(a, b);
    case CompareOp::kNe:
      return !run->Same(a, b);
    case CompareOp::kIn:
      return Contains(run, b, a);
    case CompareOp::kNotIn:
      return !Contains(run, b, a);
    default:
      break;
  }
  const int order = Order(run, a, b);
  if (is_nan(a) || is_nan(b)) return false;
  switch (op) {
    case CompareOp::kLt:
      return order < 0;
    case CompareOp::kLe:
      return order <= 0;
    case CompareOp::kGt:
      return order > 0;
    default:
      return order >= 0;
  }
}

bool Contains(Runtime* run, const Value& container, const Value& item) {
  if (run->failed()) return false;
  if (const MarkedText* text = container.AsText()) {
    const MarkedText* part = item.AsText();
    if (part == nullptr) {
      run->Fail(models::Concat("'in <string>' requires string as left operand, not ", item.TypeName()));
      return false;
    }
    return run->SpendBytes(text->size()) && text->bytes().find(part->bytes()) != std::string_view::npos;
  }
  if (const DictData* dict = container.AsDict()) return dict->Find(item) != nullptr;
  if (container.IsUndefined()) return false;
  if (container.AsList() == nullptr) {
    run->Fail(models::Concat("argument of type '", container.TypeName(), "' is not iterable"));
    return false;
  }
  const List items = run->Items(container);
  if (items == nullptr || !run->Spend(items->items.size())) return false;
  for (const Value& other : items->items) {
    if (run->Same(other, item)) return true;
  }
  return false;
}

Value FoldCase(Runtime* run, const Value& value) {
  const MarkedText* text = value.AsText();
  if (text == nullptr || !run->SpendBytes(text->size())) return value;
  std::string folded;
  ForEachCharacter(text->bytes(), [&](char32_t c, size_t, size_t) {
    base::AppendUtf8(ToLower(c), &folded);
    return true;
  });
  return run->Text(MarkedText(std::move(folded), false));
}

}  // namespace hadal::jinja
