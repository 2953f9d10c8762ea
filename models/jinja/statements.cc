// SPDX-License-Identifier: Apache-2.0
// What tags do.
#include <utility>

#include "models/concat.h"
#include "models/jinja/format.h"
#include "models/jinja/interpreter.h"

namespace hadal::jinja {
namespace {

constexpr size_t kMaxKeptScopes = 100'000;

}  // namespace

Interpreter::Inner::Inner(Interpreter* owner, Scope* parent)
    : owner_(owner), outer_(owner->scope_), scope_(std::make_unique<Scope>(parent)) {
  owner_->scope_ = scope_.get();
}

Interpreter::Inner::~Inner() {
  owner_->scope_ = outer_;
  if (!scope_->kept()) return;
  owner_->kept_.push_back(std::move(scope_));
  if (owner_->kept_.size() > kMaxKeptScopes)
    owner_->run_.Fail(models::Concat("it defines more than ", kMaxKeptScopes, " macros"));
}

Interpreter::Nested::Nested(Interpreter* owner) : owner_(owner) {
  const int most = owner_->run_.limits().max_depth;
  if (++owner_->depth_ > most)
    owner_->run_.Fail(models::Concat("it is nested or recursive more than ", most, " levels deep"));
}

absl::StatusOr<MarkedText> Interpreter::Run(const std::vector<std::pair<std::string, Value>>& variables) {
  for (const auto& [name, value] : variables) {
    const int variable = program_.variables.Find(name);
    if (variable >= 0) root_.Set(variable, value);
  }
  MarkedText out;
  out_ = &out;
  ExecBody(program_.body);
  if (run_.failed()) return run_.status();
  return out;
}

Interpreter::Flow Interpreter::ExecBody(const Body& body) {
  for (const auto& statement : body) {
    const Flow flow = Exec(*statement);
    if (run_.failed()) return Flow::kBreak;
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::Exec(const Statement& statement) {
  const Nested nested(this);
  if (!run_.Spend(1)) return Flow::kBreak;
  run_.set_line(statement.line);
  switch (statement.kind) {
    case Statement::Kind::kText:
      if (run_.SpendBytes(statement.text.size())) out_->Append(statement.text, false);
      if (out_->size() > run_.limits().max_output_bytes) Output(Value());
      break;
    case Statement::Kind::kOutput:
      Output(Eval(*statement.expressions[0]));
      break;
    case Statement::Kind::kIf:
      return ExecIf(statement);
    case Statement::Kind::kFor:
      return ExecFor(statement);
    case Statement::Kind::kWith:
      return ExecWith(statement);
    case Statement::Kind::kSet:
      ExecSet(statement);
      break;
    case Statement::Kind::kSetBlock:
      ExecSetBlock(statement);
      break;
    case Statement::Kind::kMacro:
      ExecMacro(statement);
      break;
    case Statement::Kind::kCall:
      ExecCallBlock(statement);
      break;
    case Statement::Kind::kFilter:
      ExecFilterBlock(statement);
      break;
    case Statement::Kind::kBreak:
      return Flow::kBreak;
    case Statement::Kind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

void Interpreter::Output(const Value& value) {
  if (run_.failed()) return;
  AppendStr(&run_, value, out_);
  if (out_->size() > run_.limits().max_output_bytes) {
    run_.Fail(models::Concat("it writes more than ", run_.limits().max_output_bytes, " bytes"));
  }
}

Interpreter::Flow Interpreter::ExecIf(const Statement& statement) {
  for (size_t i = 0; i < statement.expressions.size(); ++i) {
    const bool holds = Eval(*statement.expressions[i]).IsTrue();
    if (run_.failed()) return Flow::kBreak;
    if (holds) return ExecBody(statement.bodies[i]);
  }
  const bool has_else = statement.bodies.size() > statement.expressions.size();
  return has_else ? ExecBody(statement.bodies.back()) : Flow::kNext;
}

bool Interpreter::PassesFilter(const Statement& statement, const Value& item) {
  if (statement.expressions[1] == nullptr) return true;
  Inner inner(this);
  Assign(statement.targets[0], item);
  return Eval(*statement.expressions[1]).IsTrue();
}

Interpreter::Flow Interpreter::ExecFor(const Statement& statement) {
  return RunLoop(statement, Eval(*statement.expressions[0]), 0);
}

Interpreter::Flow Interpreter::RunLoop(const Statement& statement, const Value& iterable, int depth) {
  List items = run_.Items(iterable);
  if (items == nullptr) return Flow::kBreak;
  // `loop` knows what follows, so that its filter runs ahead; otherwise each item is tested when its turn comes.
  const bool filters_ahead = statement.uses_loop && statement.expressions[1] != nullptr;
  if (filters_ahead) {
    std::vector<Value> passed;
    for (const Value& item : items->items) {
      if (PassesFilter(statement, item)) passed.push_back(item);
      if (run_.failed()) return Flow::kBreak;
    }
    items = run_.NewList(std::move(passed)).SharedList();
    if (items == nullptr) return Flow::kBreak;
  }
  std::shared_ptr<LoopState> loop;
  if (statement.uses_loop) {
    loop = std::make_shared<LoopState>();
    loop->items = items;
    loop->depth = depth;
    loop->statement = statement.recursive ? &statement : nullptr;
    loop->scope = scope_;
  }
  const int variable = program_.variables.Find("loop");
  bool completed = false;  // whether some item's body ran to its end, which is what Jinja's else asks
  for (size_t i = 0; i < items->items.size() && !run_.failed(); ++i) {
    if (!filters_ahead && !PassesFilter(statement, items->items[i])) continue;
    Inner inner(this);
    if (loop != nullptr) {
      loop->index = i;
      inner.scope()->Set(variable, Value(loop));
    }
    Assign(statement.targets[0], items->items[i]);
    const Flow flow = ExecBody(statement.bodies[0]);
    if (flow == Flow::kBreak) break;
    completed = completed || flow == Flow::kNext;
  }
  if (loop != nullptr) {  // a template may have put it somewhere
    loop->scope = nullptr;
    loop->last_changed.clear();
  }
  if (run_.failed()) return Flow::kBreak;
  if (completed) return Flow::kNext;
  Inner inner(this);
  return ExecBody(statement.bodies[1]);
}

Interpreter::Flow Interpreter::ExecWith(const Statement& statement) {
  std::vector<Value> values;
  for (const ExpressionPtr& expression : statement.expressions) values.push_back(Eval(*expression));
  Inner inner(this);
  for (size_t i = 0; i < values.size(); ++i) Assign(statement.targets[i], values[i]);
  return ExecBody(statement.bodies[0]);
}

void Interpreter::Assign(const Target& target, const Value& value) {
  if (run_.failed()) return;
  if (!target.attribute.empty()) {
    const Value* holder = scope_->Find(target.variable);
    NamespaceData* space = holder == nullptr ? nullptr : holder->AsNamespace();
    if (space == nullptr) {
      run_.Fail(
          models::Concat("cannot assign attribute '", target.attribute, "': '", target.name, "' is no namespace"));
    } else if (target.attribute.starts_with('_')) {
      run_.Fail(models::Concat("a namespace cannot have '", target.attribute, "': it begins with an underscore"));
    } else if (Value* member = space->Find(target.attribute)) {
      *member = value;
    } else {
      space->members.emplace_back(target.attribute, value);
    }
    return;
  }
  if (target.elements.empty()) return scope_->Set(target.variable, value);
  const List items = run_.Items(value);
  if (items == nullptr) return;
  if (items->items.size() != target.elements.size()) {
    run_.Fail(
        models::Concat("cannot unpack ", items->items.size(), " values into ", target.elements.size(), " variables"));
    return;
  }
  for (size_t i = 0; i < target.elements.size(); ++i) Assign(target.elements[i], items->items[i]);
}

void Interpreter::ExecSet(const Statement& statement) { Assign(statement.targets[0], Eval(*statement.expressions[0])); }

Value Interpreter::Capture(const Body& body) {
  MarkedText text;
  MarkedText* const outer = std::exchange(out_, &text);
  ExecBody(body);
  out_ = outer;
  return run_.failed() ? Value() : run_.Text(std::move(text));
}

void Interpreter::ExecSetBlock(const Statement& statement) {
  Value value;
  {
    Inner inner(this);
    value = Capture(statement.bodies[0]);
  }
  if (statement.expressions[0] != nullptr) value = EvalFilter(*statement.expressions[0], &value);
  Assign(statement.targets[0], value);
}

void Interpreter::ExecFilterBlock(const Statement& statement) {
  Value value;
  {
    Inner inner(this);
    value = Capture(statement.bodies[0]);
  }
  Output(EvalFilter(*statement.expressions[0], &value));
}

std::shared_ptr<const Callable> Interpreter::MakeMacro(const Statement& statement, const std::string& name) {
  auto macro = std::make_shared<Callable>();
  macro->kind = Callable::Kind::kMacro;
  macro->name = name;
  macro->statement = &statement;
  macro->scope = scope_;
  scope_->Keep();
  return macro;
}

void Interpreter::ExecMacro(const Statement& statement) {
  const Target& target = statement.targets[0];
  scope_->Set(target.variable, MakeMacro(statement, target.name));
}

void Interpreter::ExecCallBlock(const Statement& statement) {
  static const std::string kCaller = "caller";
  Output(EvalCall(*statement.expressions[0], MakeMacro(statement, kCaller)));
}

}  // namespace hadal::jinja
