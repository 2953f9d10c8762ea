// SPDX-License-Identifier: Apache-2.0
// Tags: if, for, set, macro, call, filter, with, generation, break, continue.
#include <algorithm>
#include <utility>

#include "models/concat.h"
#include "models/jinja/parser.h"
#include "models/status_macros.h"

namespace hadal::jinja {
namespace {

using Kind = Statement::Kind;

std::string Describe(const Token& token) {
  switch (token.kind) {
    case Token::Kind::kEnd:
      return "the end of the template";
    case Token::Kind::kBlockEnd:
      return "'%}'";
    case Token::Kind::kVariableEnd:
      return "'}}'";
    case Token::Kind::kText:
      return "text";
    case Token::Kind::kString:
      return "a string";
    default:
      return models::Concat("'", token.text, "'");
  }
}

}  // namespace

int VariableNames::Number(const std::string& name) {
  const int known = Find(name);
  if (known >= 0) return known;
  names_.push_back(name);
  return static_cast<int>(names_.size()) - 1;
}

int VariableNames::Find(std::string_view name) const {
  const auto found = std::find(names_.begin(), names_.end(), name);
  return found == names_.end() ? -1 : static_cast<int>(found - names_.begin());
}

absl::StatusOr<Program> Parse(std::string_view source) {
  HADAL_ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(source));
  return Parser(std::move(tokens)).Run();
}

absl::StatusOr<Program> Parser::Run() {
  Program program;
  program.body = ParseBody({});
  if (!status_.ok()) return status_;
  program.variables = std::move(variables_);
  return program;
}

void Parser::Fail(std::string_view what) {
  if (status_.ok()) status_ = absl::InvalidArgumentError(models::Concat("line ", Now().line, ": ", what));
}

void Parser::FailUnexpected(std::string_view wanted) {
  Fail(models::Concat("expected ", wanted, ", found ", Describe(Now())));
}

bool Parser::SkipOperator(std::string_view op) {
  if (!IsOperator(op)) return false;
  Next();
  return true;
}

bool Parser::SkipName(std::string_view name) {
  if (!IsName(name)) return false;
  Next();
  return true;
}

bool Parser::ExpectOperator(std::string_view op) {
  if (SkipOperator(op)) return true;
  FailUnexpected(models::Concat("'", op, "'"));
  return false;
}

void Parser::EndTag() {
  if (Now().kind != Token::Kind::kBlockEnd) return FailUnexpected("'%}'");
  Next();
}

// Statements up to a tag that begins with one of `ends`, which becomes the current token; without ends to the end of
// the template.
Body Parser::ParseBody(std::initializer_list<std::string_view> ends) {
  const Nested nested(this);
  Body body;
  const int line = Now().line;
  while (!failed()) {
    const Token& token = Now();
    if (token.kind == Token::Kind::kEnd) {
      if (ends.size() == 0) return body;
      Fail(models::Concat("the tag that was opened on line ", line, " is not closed with ", *(ends.end() - 1)));
      return body;
    }
    if (token.kind == Token::Kind::kBlockBegin) {
      Next();
      if (Now().kind == Token::Kind::kName && std::find(ends.begin(), ends.end(), Now().text) != ends.end())
        return body;
      body.push_back(ParseStatement());
      continue;
    }
    auto statement = std::make_unique<Statement>();
    statement->line = token.line;
    if (token.kind == Token::Kind::kText) {
      statement->text = token.text;
      Next();
    } else {
      Next();
      statement->kind = Kind::kOutput;
      statement->expressions.push_back(ParseTuple(true, false));
      if (!failed() && Now().kind != Token::Kind::kVariableEnd) FailUnexpected("'}}'");
      Next();
    }
    body.push_back(std::move(statement));
  }
  return body;
}

std::unique_ptr<Statement> Parser::ParseStatement() {
  auto out = std::make_unique<Statement>();
  out->line = Now().line;
  if (Now().kind != Token::Kind::kName) {
    FailUnexpected("the name of a tag");
    return out;
  }
  const std::string tag = Now().text;
  Next();
  if (tag == "if") {
    ParseIf(out.get());
  } else if (tag == "for") {
    ParseFor(out.get());
  } else if (tag == "set") {
    ParseSet(out.get());
  } else if (tag == "macro") {
    ParseMacro(out.get());
  } else if (tag == "call") {
    ParseCallBlock(out.get());
  } else if (tag == "with") {
    ParseWith(out.get());
  } else if (tag == "print") {
    out->kind = Kind::kOutput;
    out->expressions.push_back(ParseTuple(true, false));
    EndTag();
  } else if (tag == "filter") {
    out->kind = Kind::kFilter;
    // The filter's name stands where "|" would.
    tokens_[--at_] = {Token::Kind::kOperator, "|", out->line};
    ExpressionPtr chain = ParseFilter(nullptr);
    while (!failed() && IsOperator("|")) chain = ParseFilter(std::move(chain));
    out->expressions.push_back(std::move(chain));
    EndTag();
    out->bodies.push_back(ParseBody({"endfilter"}));
    Next();
    EndTag();
  } else if (tag == "generation") {
    out->kind = Kind::kWith;
    EndTag();
    const int loops = std::exchange(loops_, 0);
    out->bodies.push_back(ParseBody({"endgeneration"}));
    loops_ = loops;
    Next();
    EndTag();
  } else if (tag == "break" || tag == "continue") {
    out->kind = tag == "break" ? Kind::kBreak : Kind::kContinue;
    if (loops_ == 0) Fail(models::Concat("'", tag, "' outside of a loop"));
    EndTag();
  } else {
    --at_;
    const bool other_template =
        tag == "include" || tag == "import" || tag == "extends" || tag == "from" || tag == "block";
    Fail(models::Concat(other_template ? "a chat template has no other templates: " : "unknown tag ", "'", tag, "'"));
  }
  return out;
}

void Parser::ParseIf(Statement* out) {
  out->kind = Kind::kIf;
  ++ifs_;
  for (;;) {
    out->expressions.push_back(ParseTuple(false, false));
    EndTag();
    out->bodies.push_back(ParseBody({"elif", "else", "endif"}));
    if (failed()) return;
    if (!SkipName("elif")) break;
  }
  if (SkipName("else")) {
    EndTag();
    out->bodies.push_back(ParseBody({"endif"}));
  }
  --ifs_;
  Next();
  EndTag();
}

void Parser::ParseFor(Statement* out) {
  out->kind = Kind::kFor;
  out->targets.push_back(ParseTarget(false, true));
  if (!failed() && !SkipName("in")) FailUnexpected("'in'");
  out->expressions.push_back(ParseTuple(false, false));
  out->expressions.push_back(SkipName("if") ? ParseExpression() : nullptr);
  out->recursive = SkipName("recursive");
  EndTag();
  ++loops_;
  Statement* const outer = std::exchange(loop_, out);
  out->bodies.push_back(ParseBody({"else", "endfor"}));
  loop_ = outer;
  --loops_;
  if (failed()) return;
  if (SkipName("else")) {
    EndTag();
    out->bodies.push_back(ParseBody({"endfor"}));
  } else {
    out->bodies.emplace_back();
  }
  Next();
  EndTag();
}

Target Parser::ParseTarget(bool with_attribute, bool tuples) {
  const Nested nested(this);
  Target target;
  if (failed()) return target;
  const auto one = [&]() -> Target {
    if (SkipOperator("(")) {
      Target inner = ParseTarget(false, true);
      ExpectOperator(")");
      return inner;
    }
    Target name;
    if (Now().kind != Token::Kind::kName) {
      FailUnexpected("a variable");
      return name;
    }
    static constexpr std::string_view kReserved[] = {"true", "false", "none", "True", "False", "None"};
    if (std::find(std::begin(kReserved), std::end(kReserved), Now().text) != std::end(kReserved)) {
      Fail(models::Concat("cannot assign to '", Now().text, "'"));
    }
    name.name = Now().text;
    name.variable = variables_.Number(name.name);
    Next();
    return name;
  };
  target = one();
  if (with_attribute && SkipOperator(".")) {
    if (Now().kind != Token::Kind::kName) FailUnexpected("a name");
    target.attribute = Now().text;
    Next();
    return target;
  }
  if (!tuples || !IsOperator(",")) return target;
  Target tuple;
  tuple.elements.push_back(std::move(target));
  while (!failed() && SkipOperator(",")) {
    if (Now().kind != Token::Kind::kName && !IsOperator("(")) break;
    if (IsName("in")) break;
    tuple.elements.push_back(one());
  }
  return tuple;
}

void Parser::ParseSet(Statement* out) {
  out->targets.push_back(ParseTarget(true, true));
  if (SkipOperator("=")) {
    out->kind = Kind::kSet;
    out->expressions.push_back(ParseTuple(true, false));
    return EndTag();
  }
  out->kind = Kind::kSetBlock;
  ExpressionPtr chain;
  while (!failed() && IsOperator("|")) chain = ParseFilter(std::move(chain));
  out->expressions.push_back(std::move(chain));
  EndTag();
  out->bodies.push_back(ParseBody({"endset"}));
  Next();
  EndTag();
}

void Parser::ParseParameters(Statement* out) {
  ExpectOperator("(");
  for (bool first = true; !failed() && !IsOperator(")"); first = false) {
    if (!first) {
      ExpectOperator(",");
      if (IsOperator(")")) break;
    }
    Parameter parameter;
    const Target name = ParseTarget(false, false);
    parameter.variable = name.variable;
    parameter.name = name.name;
    if (SkipOperator("=")) {
      parameter.default_value = ParseExpression();
    } else if (!out->parameters.empty() && out->parameters.back().default_value != nullptr) {
      Fail("a parameter without a default after one with");
    }
    out->parameters.push_back(std::move(parameter));
  }
  ExpectOperator(")");
}

void Parser::ParseMacroBody(Statement* out, std::string_view end) {
  EndTag();
  const int loops = std::exchange(loops_, 0);
  Statement* const outer = std::exchange(macro_, out);
  out->bodies.push_back(ParseBody({end}));
  macro_ = outer;
  if (outer != nullptr) {
    outer->takes_varargs |= out->takes_varargs;
    outer->takes_kwargs |= out->takes_kwargs;
    outer->takes_caller |= out->takes_caller;
  }
  loops_ = loops;
  Next();
  EndTag();
}

void Parser::ParseMacro(Statement* out) {
  out->kind = Kind::kMacro;
  out->targets.push_back(ParseTarget(false, false));
  ParseParameters(out);
  ParseMacroBody(out, "endmacro");
}

void Parser::ParseCallBlock(Statement* out) {
  out->kind = Kind::kCall;
  if (IsOperator("(")) ParseParameters(out);
  out->expressions.push_back(ParseExpression());
  if (!failed() && out->expressions[0]->kind != Expression::Kind::kCall) Fail("expected a call");
  ParseMacroBody(out, "endcall");
}

void Parser::ParseWith(Statement* out) {
  out->kind = Kind::kWith;
  while (!failed() && Now().kind != Token::Kind::kBlockEnd) {
    if (!out->targets.empty()) ExpectOperator(",");
    out->targets.push_back(ParseTarget(false, false));
    ExpectOperator("=");
    out->expressions.push_back(ParseExpression());
  }
  EndTag();
  out->bodies.push_back(ParseBody({"endwith"}));
  Next();
  EndTag();
}

}  // namespace hadal::jinja
