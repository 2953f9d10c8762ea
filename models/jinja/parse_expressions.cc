// SPDX-License-Identifier: Apache-2.0
// Expressions, with Jinja's precedences: conditional, or, and, not, comparison, + -, ~, * / // %, **, unary.
#include <utility>

#include "models/jinja/parser.h"

namespace hadal::jinja {
namespace {

using Kind = Expression::Kind;

bool CompareOpOf(const Token& token, CompareOp* op) {
  static constexpr std::pair<std::string_view, CompareOp> kOps[] = {{"==", CompareOp::kEq}, {"!=", CompareOp::kNe},
                                                                    {"<", CompareOp::kLt},  {"<=", CompareOp::kLe},
                                                                    {">", CompareOp::kGt},  {">=", CompareOp::kGe}};
  if (token.kind != Token::Kind::kOperator) return false;
  for (const auto& [text, found] : kOps) {
    if (token.text != text) continue;
    *op = found;
    return true;
  }
  return false;
}

}  // namespace

ExpressionPtr Parser::Make(Kind kind, int line) {
  auto node = std::make_unique<Expression>();
  node->kind = kind;
  node->line = line;
  return node;
}

void Parser::Adopt(Expression* parent, ExpressionPtr child) {
  if (child != nullptr && child->depth >= parent->depth) {
    parent->depth = child->depth + 1;
    if (parent->depth > kMaxDepth) Fail("an expression is nested too deeply, or its chain of operators is too long");
  }
  parent->children.push_back(std::move(child));
}

ExpressionPtr Parser::Binary(Kind kind, int line, ExpressionPtr left, ExpressionPtr right) {
  ExpressionPtr node = Make(kind, line);
  Adopt(node.get(), std::move(left));
  Adopt(node.get(), std::move(right));
  return node;
}

ExpressionPtr Parser::ParseExpression(bool with_conditional) {
  const Nested nested(this);
  if (failed()) return nullptr;
  return with_conditional ? ParseConditional() : ParseOr();
}

ExpressionPtr Parser::ParseTuple(bool with_conditional, bool parenthesised) {
  const int line = Now().line;
  ExpressionPtr tuple = Make(Kind::kTuple, line);
  bool is_tuple = false;
  while (!failed()) {
    const bool ends = Now().kind == Token::Kind::kVariableEnd || Now().kind == Token::Kind::kBlockEnd ||
                      IsOperator(")") || (IsName("recursive") && is_tuple);
    if (ends) break;
    Adopt(tuple.get(), ParseExpression(with_conditional));
    if (!SkipOperator(",")) break;
    is_tuple = true;
  }
  if (failed()) return nullptr;
  if (is_tuple) return tuple;
  if (tuple->children.size() == 1) return std::move(tuple->children.front());
  if (!parenthesised) FailUnexpected("an expression");
  return tuple;
}

ExpressionPtr Parser::ParseConditional() {
  ExpressionPtr value = ParseOr();
  while (!failed() && IsName("if")) {
    ExpressionPtr node = Make(Kind::kConditional, Now().line);
    Next();
    ExpressionPtr condition = ParseOr();
    ExpressionPtr otherwise;
    if (SkipName("else")) otherwise = ParseExpression();
    Adopt(node.get(), std::move(value));
    Adopt(node.get(), std::move(condition));
    Adopt(node.get(), std::move(otherwise));
    value = std::move(node);
  }
  return value;
}

ExpressionPtr Parser::ParseOr() {
  ExpressionPtr left = ParseAnd();
  while (!failed() && IsName("or")) {
    const int line = Now().line;
    Next();
    left = Binary(Kind::kOr, line, std::move(left), ParseAnd());
  }
  return left;
}

ExpressionPtr Parser::ParseAnd() {
  ExpressionPtr left = ParseNot();
  while (!failed() && IsName("and")) {
    const int line = Now().line;
    Next();
    left = Binary(Kind::kAnd, line, std::move(left), ParseNot());
  }
  return left;
}

ExpressionPtr Parser::ParseNot() {
  if (!IsName("not")) return ParseCompare();
  const Nested nested(this);
  if (failed()) return nullptr;
  ExpressionPtr node = Make(Kind::kNot, Now().line);
  Next();
  Adopt(node.get(), ParseNot());
  return node;
}

ExpressionPtr Parser::ParseCompare() {
  ExpressionPtr first = ParseSum();
  ExpressionPtr node;
  while (!failed()) {
    CompareOp op = CompareOp::kEq;
    if (IsName("in")) {
      op = CompareOp::kIn;
    } else if (IsName("not") && Ahead().kind == Token::Kind::kName && Ahead().text == "in") {
      op = CompareOp::kNotIn;
      Next();
    } else if (!CompareOpOf(Now(), &op)) {
      break;
    }
    if (node == nullptr) {
      node = Make(Kind::kCompare, Now().line);
      Adopt(node.get(), std::move(first));
    }
    Next();
    node->compare.push_back(op);
    Adopt(node.get(), ParseSum());
  }
  return node != nullptr ? std::move(node) : std::move(first);
}

ExpressionPtr Parser::ParseSum() {
  ExpressionPtr left = ParseConcat();
  while (!failed() && (IsOperator("+") || IsOperator("-"))) {
    const int line = Now().line;
    const BinaryOp op = IsOperator("+") ? BinaryOp::kAdd : BinaryOp::kSub;
    Next();
    left = Binary(Kind::kBinary, line, std::move(left), ParseConcat());
    left->op = op;
  }
  return left;
}

ExpressionPtr Parser::ParseConcat() {
  ExpressionPtr first = ParseProduct();
  if (failed() || !IsOperator("~")) return first;
  ExpressionPtr node = Make(Kind::kConcat, Now().line);
  Adopt(node.get(), std::move(first));
  while (!failed() && SkipOperator("~")) Adopt(node.get(), ParseProduct());
  return node;
}

ExpressionPtr Parser::ParseProduct() {
  static constexpr std::pair<std::string_view, BinaryOp> kOps[] = {
      {"*", BinaryOp::kMul}, {"/", BinaryOp::kDiv}, {"//", BinaryOp::kFloorDiv}, {"%", BinaryOp::kMod}};
  ExpressionPtr left = ParsePower();
  for (bool found = true; found && !failed();) {
    found = false;
    for (const auto& [text, op] : kOps) {
      if (!IsOperator(text)) continue;
      const int line = Now().line;
      Next();
      left = Binary(Kind::kBinary, line, std::move(left), ParsePower());
      left->op = op;
      found = true;
      break;
    }
  }
  return left;
}

ExpressionPtr Parser::ParsePower() {
  ExpressionPtr left = ParseUnary(true);
  while (!failed() && IsOperator("**")) {
    const int line = Now().line;
    Next();
    left = Binary(Kind::kBinary, line, std::move(left), ParseUnary(true));
    left->op = BinaryOp::kPow;
  }
  return left;
}

}  // namespace hadal::jinja
