// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "models/jinja/ast.h"
#include "models/jinja/runtime.h"
#include "models/jinja/scope.h"

namespace hadal::jinja {

// Walks the tree of a template once. Not thread-safe.
class Interpreter {
 public:
  // `program` outlives this.
  Interpreter(const Program& program, const Limits& limits) : program_(program), run_(limits) {}

  absl::StatusOr<MarkedText> Run(const std::vector<std::pair<std::string, Value>>& variables);

 private:
  enum class Flow : uint8_t { kNext, kBreak, kContinue };

  // A scope for as long as this lives, longer when a macro keeps it.
  class Inner {
   public:
    explicit Inner(Interpreter* owner) : Inner(owner, owner->scope_) {}
    Inner(Interpreter* owner, Scope* parent);
    ~Inner();
    Scope* scope() { return scope_.get(); }

   private:
    Interpreter* owner_;
    Scope* outer_;  // to return to
    std::unique_ptr<Scope> scope_;
  };

  // Counts nested evaluations while it lives.
  class Nested {
   public:
    explicit Nested(Interpreter* owner);
    ~Nested() { --owner_->depth_; }

   private:
    Interpreter* owner_;
  };

  // statements.cc
  Flow ExecBody(const Body& body);
  Flow Exec(const Statement& statement);
  Flow ExecIf(const Statement& statement);
  Flow ExecFor(const Statement& statement);
  // `depth` of a recursive loop.
  Flow RunLoop(const Statement& statement, const Value& iterable, int depth);
  Flow ExecWith(const Statement& statement);
  void ExecSet(const Statement& statement);
  void ExecSetBlock(const Statement& statement);
  void ExecMacro(const Statement& statement);
  void ExecCallBlock(const Statement& statement);
  void ExecFilterBlock(const Statement& statement);
  bool PassesFilter(const Statement& statement, const Value& item);
  void Assign(const Target& target, const Value& value);
  void Output(const Value& value);
  // What the body writes, as a text.
  Value Capture(const Body& body);
  std::shared_ptr<const Callable> MakeMacro(const Statement& statement, const std::string& name);

  // expressions.cc
  Value Eval(const Expression& expression);
  Value EvalName(const Expression& expression);
  Value EvalSubscript(const Expression& expression);
  Value EvalConditional(const Expression& expression);
  Value EvalConcat(const Expression& expression);
  Value EvalCompare(const Expression& expression);
  Value EvalItems(const Expression& expression);
  Value EvalDict(const Expression& expression);
  Value EvalTest(const Expression& expression);
  // `input` stands for the missing innermost operand of a filter block's chain.
  Value EvalFilter(const Expression& expression, const Value* input);
  // `caller` of a call block, or null.
  Value EvalCall(const Expression& expression, std::shared_ptr<const Callable> caller);
  CallArguments EvalArguments(const Expression& expression);
  Value Call(const Value& callee, const CallArguments& arguments);
  Value CallMacro(const Callable& macro, const CallArguments& arguments);
  Value CallLoop(const Value& callee, const CallArguments& arguments);

  const Program& program_;
  Runtime run_;
  Scope root_{nullptr};
  Scope* scope_ = &root_;
  MarkedText* out_ = nullptr;
  int depth_ = 0;
  std::vector<std::unique_ptr<Scope>> kept_;
};

}  // namespace hadal::jinja
