// SPDX-License-Identifier: Apache-2.0
// What expressions are worth.
#include <algorithm>
#include <utility>

#include "models/concat.h"
#include "models/jinja/builtins.h"
#include "models/jinja/format.h"
#include "models/jinja/interpreter.h"
#include "models/jinja/operators.h"

namespace hadal::jinja {

using Kind = Expression::Kind;

Value Interpreter::Eval(const Expression& expression) {
  const Nested nested(this);
  if (!run_.Spend(1)) return Value();
  switch (expression.kind) {
    case Kind::kLiteral:
      return expression.value;
    case Kind::kName:
      return EvalName(expression);
    case Kind::kAttribute:
      return GetAttribute(&run_, Eval(*expression.children[0]), expression.name);
    case Kind::kSubscript:
    case Kind::kSlice:
      return EvalSubscript(expression);
    case Kind::kCall:
      return EvalCall(expression, nullptr);
    case Kind::kFilter:
      return EvalFilter(expression, nullptr);
    case Kind::kTest:
      return EvalTest(expression);
    case Kind::kNot:
      return Value::Bool(!Eval(*expression.children[0]).IsTrue());
    case Kind::kNegative:
      return Negate(&run_, Eval(*expression.children[0]));
    case Kind::kPositive: {
      Value value = Eval(*expression.children[0]);
      return value.IsNumber() ? value : Negate(&run_, value);  // which fails by its type
    }
    case Kind::kBinary: {
      const Value left = Eval(*expression.children[0]);
      return Arithmetic(&run_, expression.op, left, Eval(*expression.children[1]));
    }
    case Kind::kAnd: {
      Value left = Eval(*expression.children[0]);
      return left.IsTrue() ? Eval(*expression.children[1]) : left;
    }
    case Kind::kOr: {
      Value left = Eval(*expression.children[0]);
      return left.IsTrue() ? left : Eval(*expression.children[1]);
    }
    case Kind::kConcat:
      return EvalConcat(expression);
    case Kind::kCompare:
      return EvalCompare(expression);
    case Kind::kConditional:
      return EvalConditional(expression);
    case Kind::kList:
    case Kind::kTuple:
      return EvalItems(expression);
    case Kind::kDict:
      return EvalDict(expression);
  }
  return Value();
}

Value Interpreter::EvalName(const Expression& expression) {
  if (const Value* value = scope_->Find(expression.variable)) return *value;
  if (!IsFunction(expression.name)) return Value(Value::Undefined{&expression.name});
  auto function = std::make_shared<Callable>();
  function->name = expression.name;
  return std::shared_ptr<const Callable>(std::move(function));
}

Value Interpreter::EvalSubscript(const Expression& expression) {
  const Value object = Eval(*expression.children[0]);
  const auto part = [&](size_t i) {
    return expression.children[i] == nullptr ? Value() : Eval(*expression.children[i]);
  };
  if (expression.kind == Kind::kSlice) {
    const Value begin = part(1), end = part(2);
    return GetSlice(&run_, object, begin, end, part(3));
  }
  return GetItem(&run_, object, part(1));
}

Value Interpreter::EvalConditional(const Expression& expression) {
  if (Eval(*expression.children[1]).IsTrue()) return Eval(*expression.children[0]);
  return expression.children[2] == nullptr ? Value() : Eval(*expression.children[2]);
}

Value Interpreter::EvalConcat(const Expression& expression) {
  MarkedText text;
  for (const ExpressionPtr& child : expression.children) {
    AppendStr(&run_, Eval(*child), &text);
    if (run_.failed() || !run_.Reserve(text.size())) return Value();
  }
  return run_.Text(std::move(text));
}

Value Interpreter::EvalCompare(const Expression& expression) {
  Value left = Eval(*expression.children[0]);
  for (size_t i = 0; i < expression.compare.size(); ++i) {
    Value right = Eval(*expression.children[i + 1]);
    if (run_.failed()) return Value();
    if (!Compare(&run_, expression.compare[i], left, right)) return Value::Bool(false);
    left = std::move(right);
  }
  return Value::Bool(true);
}

Value Interpreter::EvalItems(const Expression& expression) {
  std::vector<Value> items;
  items.reserve(expression.children.size());
  for (const ExpressionPtr& child : expression.children) items.push_back(Eval(*child));
  return run_.NewList(std::move(items), expression.kind == Kind::kTuple ? ListKind::kTuple : ListKind::kList);
}

Value Interpreter::EvalDict(const Expression& expression) {
  DictData dict;
  for (size_t i = 0; i + 1 < expression.children.size(); i += 2) {
    Value key = Eval(*expression.children[i]);
    if (key.AsDict() != nullptr || (key.AsList() != nullptr && key.AsList()->kind == ListKind::kList)) {
      return run_.Fail(models::Concat("unhashable type: '", key.TypeName(), "'"));
    }
    dict.Set(std::move(key), Eval(*expression.children[i + 1]));
    if (run_.failed()) return Value();
  }
  return run_.NewDict(std::move(dict));
}

Value Interpreter::EvalTest(const Expression& expression) {
  const Value value = Eval(*expression.children[0]);
  const CallArguments arguments = EvalArguments(expression);
  if (run_.failed()) return Value();
  return Value::Bool(ApplyTest(&run_, expression.name, value, arguments));
}

Value Interpreter::EvalFilter(const Expression& expression, const Value* input) {
  const Nested nested(this);
  const Expression* inner = expression.children[0].get();
  const Value operand = inner == nullptr               ? *input
                        : inner->kind == Kind::kFilter ? EvalFilter(*inner, input)
                                                       : Eval(*inner);
  const CallArguments arguments = EvalArguments(expression);
  if (run_.failed()) return Value();
  return ApplyFilter(&run_, expression.name, operand, arguments);
}

CallArguments Interpreter::EvalArguments(const Expression& expression) {
  CallArguments out;
  const size_t extra = (expression.has_star ? 1 : 0) + (expression.has_star_star ? 1 : 0);
  const size_t positional = expression.arguments.size() - expression.keywords.size() - extra;
  for (size_t i = 0; i < expression.arguments.size(); ++i) {
    Value value = Eval(*expression.arguments[i]);
    if (run_.failed()) return out;
    if (i < positional) {
      out.positional.push_back(std::move(value));
    } else if (i < positional + expression.keywords.size()) {
      out.named.emplace_back(expression.keywords[i - positional], std::move(value));
    } else if (expression.has_star && i == positional + expression.keywords.size()) {
      const List items = run_.Items(value);
      if (items == nullptr || !run_.Spend(items->items.size())) return out;
      out.positional.insert(out.positional.end(), items->items.begin(), items->items.end());
    } else if (const DictData* dict = value.AsDict()) {
      for (const auto& [key, member] : dict->items) {
        const MarkedText* name = run_.TextOf("**", key);
        if (name == nullptr || !run_.Spend(1)) return out;
        out.named.emplace_back(name->bytes(), member);
      }
    } else {
      run_.Fail(models::Concat("argument after ** must be a mapping, not ", value.TypeName()));
      return out;
    }
  }
  return out;
}

Value Interpreter::EvalCall(const Expression& expression, std::shared_ptr<const Callable> caller) {
  const Expression& callee = *expression.children[0];
  const int line = expression.line;
  if (callee.kind == Kind::kAttribute) {  // a method, without making a value of it
    const Value receiver = Eval(*callee.children[0]);
    if (run_.failed()) return Value();
    if (receiver.AsNamespace() == nullptr && HasMethod(receiver, callee.name)) {
      const CallArguments arguments = EvalArguments(expression);
      if (run_.failed()) return Value();
      run_.set_line(line);
      return CallMethod(&run_, receiver, callee.name, arguments);
    }
    const Value member = GetAttribute(&run_, receiver, callee.name);
    if (member.IsUndefined()) {
      return run_.Fail(models::Concat("'", receiver.TypeName(), " object' has no attribute '", callee.name, "'"));
    }
    return Call(member, EvalArguments(expression));
  }
  const Value function = Eval(callee);
  CallArguments arguments = EvalArguments(expression);
  if (run_.failed()) return Value();
  if (function.IsUndefined()) {
    return run_.Fail(
        models::Concat("'", callee.name.empty() ? std::string_view("value") : callee.name, "' is undefined"));
  }
  if (caller != nullptr) arguments.named.emplace_back("caller", Value(std::move(caller)));
  run_.set_line(line);
  return Call(function, arguments);
}

Value Interpreter::Call(const Value& callee, const CallArguments& arguments) {
  if (run_.failed()) return Value();
  if (callee.AsLoop() != nullptr) return CallLoop(callee, arguments);
  const Callable* callable = callee.AsCallable();
  if (callable == nullptr) return run_.Fail(models::Concat("'", callee.TypeName(), "' object is not callable"));
  switch (callable->kind) {
    case Callable::Kind::kFunction:
      return CallFunction(&run_, callable->name, arguments);
    case Callable::Kind::kMethod:
      return CallMethod(&run_, callable->receiver, callable->name, arguments);
    case Callable::Kind::kMacro:
      return CallMacro(*callable, arguments);
  }
  return Value();
}

Value Interpreter::CallLoop(const Value& callee, const CallArguments& arguments) {
  const Nested nested(this);
  const std::shared_ptr<LoopState> loop = callee.SharedLoop();
  if (loop->statement == nullptr || loop->scope == nullptr) {
    return run_.Fail("the loop must be marked as recursive and be running to be called");
  }
  const auto bound = run_.Bind("loop", arguments, {"iterable"}, 1);
  if (run_.failed()) return Value();
  MarkedText text;
  MarkedText* const outer = std::exchange(out_, &text);
  Scope* const scope = std::exchange(scope_, loop->scope);
  RunLoop(*loop->statement, bound[0], loop->depth + 1);
  scope_ = scope;
  out_ = outer;
  return run_.failed() ? Value() : run_.Text(std::move(text));
}

Value Interpreter::CallMacro(const Callable& macro, const CallArguments& arguments) {
  const Nested nested(this);
  if (!run_.Spend(1)) return Value();
  const Statement& statement = *macro.statement;
  const std::vector<Parameter>& parameters = statement.parameters;
  Inner inner(this, macro.scope);
  std::vector<bool> given(parameters.size());
  std::vector<Value> more;
  for (size_t i = 0; i < arguments.positional.size(); ++i) {
    if (i >= parameters.size()) {
      more.push_back(arguments.positional[i]);
      continue;
    }
    inner.scope()->Set(parameters[i].variable, arguments.positional[i]);
    given[i] = true;
  }
  DictData named;
  Value caller;
  for (const auto& [name, value] : arguments.named) {
    const auto found =
        std::find_if(parameters.begin(), parameters.end(), [&](const auto& p) { return p.name == name; });
    if (found != parameters.end()) {
      const auto i = static_cast<size_t>(found - parameters.begin());
      if (given[i]) return run_.Fail(models::Concat("macro '", macro.name, "' got two values for '", name, "'"));
      inner.scope()->Set(found->variable, value);
      given[i] = true;
    } else if (name == "caller" && statement.takes_caller) {
      caller = value;
    } else {
      named.Set(Value::String(name, false), value);
    }
  }
  if (!more.empty() && !statement.takes_varargs) {
    return run_.Fail(
        models::Concat("macro '", macro.name, "' takes not more than ", parameters.size(), " argument(s)"));
  }
  if (!named.items.empty() && !statement.takes_kwargs) {
    return run_.Fail(models::Concat("macro '", macro.name, "' takes no keyword argument '",
                                    named.items[0].first.AsText()->bytes(), "'"));
  }
  if (statement.takes_varargs) {
    inner.scope()->Set(program_.variables.Find("varargs"), run_.NewList(std::move(more), ListKind::kTuple));
  }
  if (statement.takes_kwargs) inner.scope()->Set(program_.variables.Find("kwargs"), run_.NewDict(std::move(named)));
  // The body of a call block that reads `caller` means the one of the macro around it.
  if (statement.takes_caller && statement.kind == Statement::Kind::kMacro) {
    inner.scope()->Set(program_.variables.Find("caller"), caller);
  }
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (given[i]) continue;
    const ExpressionPtr& fallback = parameters[i].default_value;
    inner.scope()->Set(parameters[i].variable,
                       fallback == nullptr ? Value(Value::Undefined{&parameters[i].name}) : Eval(*fallback));
  }
  return Capture(statement.bodies[0]);
}

}  // namespace hadal::jinja
