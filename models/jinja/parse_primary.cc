// SPDX-License-Identifier: Apache-2.0
// What operators stand between: literals, variables, subscripts, calls, filters and tests.
#include <charconv>
#include <cstdlib>
#include <utility>

#include "models/concat.h"
#include "models/jinja/builtins.h"
#include "models/jinja/parser.h"

namespace hadal::jinja {

using Kind = Expression::Kind;

ExpressionPtr Parser::ParseUnary(bool with_filter) {
  const Nested nested(this);
  if (failed()) return nullptr;
  ExpressionPtr node;
  if (IsOperator("-") || IsOperator("+")) {
    node = Make(IsOperator("-") ? Kind::kNegative : Kind::kPositive, Now().line);
    Next();
    Adopt(node.get(), ParseUnary(false));
  } else {
    node = ParsePrimary();
  }
  node = ParsePostfix(std::move(node));
  return with_filter ? ParseFilterChain(std::move(node)) : std::move(node);
}

ExpressionPtr Parser::ParsePrimary() {
  if (failed()) return nullptr;
  const Token& token = Now();
  if (token.kind == Token::Kind::kName) {
    ExpressionPtr node = Make(Kind::kLiteral, token.line);
    if (token.text == "true" || token.text == "True") {
      node->value = Value::Bool(true);
    } else if (token.text == "false" || token.text == "False") {
      node->value = Value::Bool(false);
    } else if (token.text == "none" || token.text == "None") {
      node->value = Value::None{};
    } else {
      node->kind = Kind::kName;
      node->name = token.text;
      node->variable = variables_.Number(token.text);
      if (loop_ != nullptr) loop_->uses_loop |= token.text == "loop";
      if (macro_ != nullptr) {
        macro_->takes_varargs |= token.text == "varargs";
        macro_->takes_kwargs |= token.text == "kwargs";
        macro_->takes_caller |= token.text == "caller";
      }
    }
    Next();
    return node;
  }
  if (token.kind == Token::Kind::kString) {
    ExpressionPtr node = Make(Kind::kLiteral, token.line);
    std::string text;
    for (; Now().kind == Token::Kind::kString; Next()) text += Now().text;
    node->value = Value::String(std::move(text), /*input=*/false);
    return node;
  }
  if (token.kind == Token::Kind::kInteger || token.kind == Token::Kind::kFloat) return ParseNumber();
  if (IsOperator("(")) {
    Next();
    ExpressionPtr node = ParseTuple(true, true);
    ExpectOperator(")");
    return node;
  }
  if (IsOperator("[")) return ParseListLiteral();
  if (IsOperator("{")) return ParseDictLiteral();
  FailUnexpected("an expression");
  return nullptr;
}

ExpressionPtr Parser::ParseNumber() {
  ExpressionPtr node = Make(Kind::kLiteral, Now().line);
  const std::string text = Now().text;
  if (Now().kind == Token::Kind::kFloat) {
    node->value = Value::Float(std::strtod(text.c_str(), nullptr));
  } else {
    int base = 10;
    size_t skip = 0;
    if (text.size() > 2 && text[0] == '0') {
      const char letter = static_cast<char>(text[1] | 0x20);
      base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 10;
      skip = base == 10 ? 0 : 2;
    }
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data() + skip, text.data() + text.size(), value, base);
    if (error != std::errc() || end != text.data() + text.size())
      Fail(models::Concat("the number ", text, " is out of range"));
    node->value = Value::Int(value);
  }
  Next();
  return node;
}

ExpressionPtr Parser::ParseListLiteral() {
  ExpressionPtr node = Make(Kind::kList, Now().line);
  Next();
  while (!failed() && !IsOperator("]")) {
    if (!node->children.empty()) ExpectOperator(",");
    if (IsOperator("]")) break;
    Adopt(node.get(), ParseExpression());
  }
  ExpectOperator("]");
  return node;
}

ExpressionPtr Parser::ParseDictLiteral() {
  ExpressionPtr node = Make(Kind::kDict, Now().line);
  Next();
  while (!failed() && !IsOperator("}")) {
    if (!node->children.empty()) ExpectOperator(",");
    if (IsOperator("}")) break;
    Adopt(node.get(), ParseExpression());
    ExpectOperator(":");
    Adopt(node.get(), ParseExpression());
  }
  ExpectOperator("}");
  return node;
}

ExpressionPtr Parser::ParsePostfix(ExpressionPtr node) {
  while (!failed()) {
    if (IsOperator(".") || IsOperator("[")) {
      node = ParseSubscript(std::move(node));
    } else if (IsOperator("(")) {
      node = ParseCall(std::move(node));
    } else {
      break;
    }
  }
  return node;
}

ExpressionPtr Parser::ParseSubscript(ExpressionPtr node) {
  const int line = Now().line;
  if (SkipOperator(".")) {
    ExpressionPtr out = Make(Kind::kAttribute, line);
    Adopt(out.get(), std::move(node));
    if (Now().kind == Token::Kind::kInteger) {
      out->kind = Kind::kSubscript;
      Adopt(out.get(), ParseNumber());
      return out;
    }
    if (Now().kind != Token::Kind::kName) {
      FailUnexpected("a name or number after '.'");
      return nullptr;
    }
    out->name = Now().text;
    Next();
    return out;
  }
  Next();
  ExpressionPtr parts[3];
  size_t part = 0;
  while (!failed() && !IsOperator("]")) {
    if (SkipOperator(":")) {
      if (++part > 2) FailUnexpected("']'");
      continue;
    }
    if (parts[part] != nullptr) {
      FailUnexpected("']'");
      break;
    }
    parts[part] = ParseExpression();
  }
  if (!ExpectOperator("]")) return nullptr;
  if (part == 0 && parts[0] == nullptr) {
    Fail("an empty subscript");
    return nullptr;
  }
  ExpressionPtr out = Make(part == 0 ? Kind::kSubscript : Kind::kSlice, line);
  Adopt(out.get(), std::move(node));
  Adopt(out.get(), std::move(parts[0]));
  if (part == 0) return out;
  Adopt(out.get(), std::move(parts[1]));
  Adopt(out.get(), std::move(parts[2]));
  return out;
}

ExpressionPtr Parser::ParseCall(ExpressionPtr node) {
  ExpressionPtr out = Make(Kind::kCall, Now().line);
  Adopt(out.get(), std::move(node));
  ParseArguments(out.get());
  return out;
}

void Parser::ParseArguments(Expression* out) {
  ExpectOperator("(");
  ExpressionPtr star, star_star;
  const auto add = [&](ExpressionPtr argument) {
    if (argument != nullptr && argument->depth >= out->depth) out->depth = argument->depth + 1;
    out->arguments.push_back(std::move(argument));
  };
  for (bool first = true; !failed() && !IsOperator(")"); first = false) {
    if (!first) {
      ExpectOperator(",");
      if (IsOperator(")")) break;
    }
    if (SkipOperator("*")) {
      if (star != nullptr || star_star != nullptr) Fail("a second *argument");
      star = ParseExpression();
    } else if (SkipOperator("**")) {
      if (star_star != nullptr) Fail("a second **argument");
      star_star = ParseExpression();
    } else if (Now().kind == Token::Kind::kName && Ahead().kind == Token::Kind::kOperator && Ahead().text == "=") {
      out->keywords.push_back(Now().text);
      Next();
      Next();
      add(ParseExpression());
    } else {
      if (!out->keywords.empty() || star != nullptr) Fail("a positional argument after a named one");
      add(ParseExpression());
    }
  }
  ExpectOperator(")");
  out->has_star = star != nullptr;
  out->has_star_star = star_star != nullptr;
  if (star != nullptr) add(std::move(star));
  if (star_star != nullptr) add(std::move(star_star));
  if (out->depth > kMaxDepth) Fail("an expression is nested too deeply");
}

ExpressionPtr Parser::ParseFilterChain(ExpressionPtr node) {
  while (!failed()) {
    if (IsOperator("|")) {
      node = ParseFilter(std::move(node));
    } else if (IsName("is")) {
      node = ParseTest(std::move(node));
    } else if (IsOperator("(")) {
      node = ParseCall(std::move(node));
    } else {
      break;
    }
  }
  return node;
}

std::string Parser::ParseDottedName() {
  if (Now().kind != Token::Kind::kName) {
    FailUnexpected("a name");
    return {};
  }
  std::string name = Now().text;
  for (Next(); SkipOperator(".") && Now().kind == Token::Kind::kName; Next()) name += "." + Now().text;
  return name;
}

ExpressionPtr Parser::ParseFilter(ExpressionPtr node) {
  ExpectOperator("|");
  ExpressionPtr out = Make(Kind::kFilter, Now().line);
  Adopt(out.get(), std::move(node));
  out->name = ParseDottedName();
  if (!failed() && ifs_ == 0 && !IsFilter(out->name)) Fail(models::Concat("no filter named '", out->name, "'"));
  if (IsOperator("(")) ParseArguments(out.get());
  return out;
}

ExpressionPtr Parser::ParseTest(ExpressionPtr node) {
  const int line = Now().line;
  Next();  // is
  const bool negated = SkipName("not");
  ExpressionPtr out = Make(Kind::kTest, line);
  Adopt(out.get(), std::move(node));
  out->name = ParseDottedName();
  if (!failed() && ifs_ == 0 && !IsTest(out->name)) Fail(models::Concat("no test named '", out->name, "'"));
  const Token::Kind next = Now().kind;
  if (IsOperator("(")) {
    ParseArguments(out.get());
  } else if (next == Token::Kind::kString || next == Token::Kind::kInteger || next == Token::Kind::kFloat ||
             IsOperator("[") || IsOperator("{") ||
             (next == Token::Kind::kName && !IsName("else") && !IsName("or") && !IsName("and"))) {
    if (IsName("is")) Fail("tests cannot be chained with is");
    ExpressionPtr argument = ParsePostfix(ParsePrimary());
    if (argument != nullptr && argument->depth >= out->depth) out->depth = argument->depth + 1;
    out->arguments.push_back(std::move(argument));
  }
  if (!negated) return out;
  ExpressionPtr inverse = Make(Kind::kNot, line);
  Adopt(inverse.get(), std::move(out));
  return inverse;
}

}  // namespace hadal::jinja
