// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/jinja/ast.h"
#include "models/jinja/lexer.h"

namespace hadal::jinja {

// Parses a template with Jinja's grammar and the extensions that transformers turns on: loopcontrols and generation.
// InvalidArgument "line N: ..." for what Jinja would refuse, for an unknown filter or test outside of an if (inside it
// is an error of the render that comes there, as in Jinja), and for tags that need other templates (include, import,
// extends, block).
absl::StatusOr<Program> Parse(std::string_view source);

// The parser's state. The methods return null (or false) once something failed; the first error is kept.
class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}
  absl::StatusOr<Program> Run();

 private:
  // Nesting of tags and brackets, and the longest chain of operators.
  static constexpr int kMaxDepth = 150;

  // parse_statements.cc
  Body ParseBody(std::initializer_list<std::string_view> ends);
  std::unique_ptr<Statement> ParseStatement();
  void ParseIf(Statement* out);
  void ParseFor(Statement* out);
  void ParseSet(Statement* out);
  void ParseMacro(Statement* out);
  void ParseCallBlock(Statement* out);
  void ParseWith(Statement* out);
  void ParseParameters(Statement* out);
  void ParseMacroBody(Statement* out, std::string_view end);
  Target ParseTarget(bool with_attribute, bool tuples);
  void EndTag();

  // parse_expressions.cc
  ExpressionPtr ParseExpression(bool with_conditional = true);
  // `a, b` as a tuple, one expression alone as itself. With `parenthesised` it may be empty.
  ExpressionPtr ParseTuple(bool with_conditional, bool parenthesised);
  ExpressionPtr ParseConditional();
  ExpressionPtr ParseOr();
  ExpressionPtr ParseAnd();
  ExpressionPtr ParseNot();
  ExpressionPtr ParseCompare();
  ExpressionPtr ParseSum();
  ExpressionPtr ParseConcat();
  ExpressionPtr ParseProduct();
  ExpressionPtr ParsePower();
  ExpressionPtr ParseUnary(bool with_filter);
  ExpressionPtr ParsePrimary();
  ExpressionPtr ParseNumber();
  ExpressionPtr ParseListLiteral();
  ExpressionPtr ParseDictLiteral();
  ExpressionPtr ParsePostfix(ExpressionPtr node);
  ExpressionPtr ParseSubscript(ExpressionPtr node);
  ExpressionPtr ParseCall(ExpressionPtr node);
  ExpressionPtr ParseFilterChain(ExpressionPtr node);
  ExpressionPtr ParseFilter(ExpressionPtr node);
  ExpressionPtr ParseTest(ExpressionPtr node);
  void ParseArguments(Expression* out);
  std::string ParseDottedName();

  const Token& Now() const { return tokens_[at_]; }
  const Token& Ahead() const { return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_]; }
  void Next() { at_ += at_ + 1 < tokens_.size() ? 1 : 0; }
  bool IsOperator(std::string_view op) const { return Now().kind == Token::Kind::kOperator && Now().text == op; }
  bool IsName(std::string_view name) const { return Now().kind == Token::Kind::kName && Now().text == name; }
  bool SkipOperator(std::string_view op);
  bool SkipName(std::string_view name);
  bool ExpectOperator(std::string_view op);
  bool failed() const { return !status_.ok(); }
  void Fail(std::string_view what);
  void FailUnexpected(std::string_view wanted);

  ExpressionPtr Make(Expression::Kind kind, int line);
  // Adds a child and bounds the depth.
  void Adopt(Expression* parent, ExpressionPtr child);
  ExpressionPtr Binary(Expression::Kind kind, int line, ExpressionPtr left, ExpressionPtr right);

  // Counts nesting while it lives.
  class Nested {
   public:
    explicit Nested(Parser* parser) : parser_(parser) {
      if (++parser_->depth_ > kMaxDepth) parser_->Fail("nested too deeply");
    }
    ~Nested() { --parser_->depth_; }

   private:
    Parser* parser_;
  };

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
  int loops_ = 0;
  int ifs_ = 0;  // an unknown filter is no error in an if that may not be taken
  absl::Status status_;
  VariableNames variables_;
  // The innermost macro or call block and the innermost loop, which note the special names that their bodies read.
  Statement* macro_ = nullptr;
  Statement* loop_ = nullptr;
};

}  // namespace hadal::jinja
