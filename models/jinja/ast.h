// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "models/jinja/value.h"

// The tree of a compiled template. Built by the parser, immutable afterwards. Every node knows its depth, which the
// parser bounds, so that walking and destroying it needs bounded stack.
namespace hadal::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

enum class BinaryOp : uint8_t { kAdd, kSub, kMul, kDiv, kFloorDiv, kMod, kPow };
enum class CompareOp : uint8_t { kEq, kNe, kLt, kLe, kGt, kGe, kIn, kNotIn };

struct Expression {
  enum class Kind : uint8_t {
    kLiteral,      // value
    kName,         // variable
    kAttribute,    // children[0].name
    kSubscript,    // children[0][children[1]]
    kSlice,        // children[0][children[1]:children[2]:children[3]], absent ones null
    kCall,         // children[0](arguments)
    kFilter,       // children[0] | name(arguments); children[0] is null in a filter block
    kTest,         // children[0] is name(arguments)
    kNot,          // not children[0]
    kNegative,     // -children[0]
    kPositive,     // +children[0]
    kBinary,       // children[0] op children[1]
    kAnd,          // children[0] and children[1]
    kOr,           // children[0] or children[1]
    kConcat,       // all children, joined by ~
    kCompare,      // children[0] compare[0] children[1] compare[1] children[2] ...
    kConditional,  // children[0] if children[1] else children[2], which may be null
    kList,         // [children]
    kTuple,        // (children)
    kDict,         // {children[0]: children[1], ...}
  };

  Kind kind = Kind::kLiteral;
  int line = 0;
  int depth = 1;
  std::vector<ExpressionPtr> children;
  std::string name;   // kName, kAttribute, kFilter, kTest
  int variable = -1;  // kName: its number in the template
  Value value;        // kLiteral
  BinaryOp op = BinaryOp::kAdd;
  std::vector<CompareOp> compare;

  // kCall, kFilter, kTest. `arguments` holds the positional ones, then those of `keywords`, then *args and **kwargs.
  std::vector<ExpressionPtr> arguments;
  std::vector<std::string> keywords;
  bool has_star = false;
  bool has_star_star = false;
};

// What an assignment binds: one variable, or several from a sequence.
struct Target {
  int variable = -1;
  std::string attribute;         // set ns.attribute
  std::string name;              // of the variable, for messages
  std::vector<Target> elements;  // a, b = ...
};

struct Statement;
using Body = std::vector<std::unique_ptr<Statement>>;

struct Parameter {
  int variable = -1;
  std::string name;
  ExpressionPtr default_value;  // null without one
};

struct Statement {
  enum class Kind : uint8_t {
    kText,      // text
    kOutput,    // {{ expressions[0] }}
    kIf,        // expressions[i] -> bodies[i]; one more body is the else
    kFor,       // for targets[0] in expressions[0] (if expressions[1]): bodies[0], else bodies[1]
    kSet,       // targets[0] = expressions[0]
    kSetBlock,  // targets[0] = bodies[0], through the filter expressions[0] unless null
    kMacro,     // targets[0], parameters, bodies[0]
    kCall,      // expressions[0] is called with bodies[0] as caller(parameters)
    kFilter,    // bodies[0] through the filter expressions[0]
    kWith,      // targets[i] = expressions[i] for bodies[0]; also `generation`, which binds nothing
    kBreak,
    kContinue,
  };

  Kind kind = Kind::kText;
  int line = 0;
  std::string text;
  std::vector<ExpressionPtr> expressions;
  std::vector<Target> targets;
  std::vector<Parameter> parameters;
  std::vector<Body> bodies;
  bool recursive = false;      // kFor: loop() may be called
  bool uses_loop = false;      // kFor: the body reads `loop`
  bool takes_varargs = false;  // kMacro, kCall: the body reads varargs, kwargs or caller
  bool takes_kwargs = false;
  bool takes_caller = false;
};

// Names of variables by number: a render finds them without comparing text.
class VariableNames {
 public:
  int Number(const std::string& name);
  const std::string& Name(int number) const { return names_[static_cast<size_t>(number)]; }
  // -1 for a name that the template does not have.
  int Find(std::string_view name) const;
  size_t size() const { return names_.size(); }

 private:
  std::vector<std::string> names_;
};

struct Program {
  Body body;
  VariableNames variables;
};

}  // namespace hadal::jinja
