// SPDX-License-Identifier: Apache-2.0
#include "models/grammar/pattern_check.h"

#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <regex>

#include "models/grammar/grammar_compiler.h"
#include "models/grammar/json_format.h"
#include "models/grammar/json_schema.h"

namespace hadal::grammar {
namespace {

TEST(CheckPattern, PassesWhatCanBeFollowed) {
  for (const char* pattern :
       {"^[0-9]{5}$", "abc", "^(a|b)+$", "^(?:a|b){2,40}$", "^[^\\s\"]+$", "^.*$", "^\\d{4}-\\d{2}$", "^$", "",
        "^[A-Z][a-z_]{1,30}(\\.[a-z]+)*$", "^a$|^b$", "(^a|b$)", "((^a)b$)", "^(a$|b(c|d$))$", "(^a)?$", "^(?:^a|b)c",
        "^[-+]?[0-9]+\\.?$", "^中文[0-9]$", "^[\\w.]+$"}) {
    EXPECT_EQ(CheckPattern(pattern).problem, "") << pattern;
  }
}

TEST(CheckPattern, RefusesWhatCannotBeFollowedExactly) {
  const std::pair<const char*, const char*> cases[] = {
      {"a^b", "^ stands inside"},
      {"a$b", "$ stands inside"},
      {"(a$)b", "$ stands inside"},
      {"(a$|b)c", "$ stands inside"},
      {"((a$)|b)(c)", "$ stands inside"},
      {"b(^a)", "^ stands inside"},
      {"x(y|^a)", "^ stands inside"},
      {"x?(?:^a)", "^ stands inside"},
      {"(^a){2}", "is repeated"},
      {"(?:a$)+", "is repeated"},
      {"a**", "* has nothing to repeat"},
      {"a++b", "+ has nothing to repeat"},
      {"a{2}{3}", "{3} has nothing to repeat"},
      {"a???", "? has nothing to repeat"},
      {"*a", "* has nothing to repeat"},
      {"(+a)", "+ has nothing to repeat"},
      {"a|?", "? has nothing to repeat"},
      {"^*", "* has nothing to repeat"},
      {"a$?", "? has nothing to repeat"},
      {"a{3,2}", "{3,2} ends before it begins"},
      {"(?=a)b", "look-ahead and look-behind, here (?=...), are not supported"},
      // As Zod writes z.email().
      {"^(?!\\.)(?!.*\\.\\.)([A-Za-z0-9_'+\\-\\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\\-]*\\.)+[A-Za-z]{2,}$",
       R"(here (?!...), are not supported; for an e-mail address use "format": "email" without a pattern)"},
      {"(?<name>a)", "(?..."},
      {"\\bword\\b", "\\b is not supported"},
      {"(a)\\1", ""},
      {"\\p{L}+", "\\p is not supported"},
      {"^[\\p{L} ]+$", "\\p is not supported"},
      {"^\\a$", "\\a is not supported"},
      {"[^\\k]", "\\k is not supported"},
      {"[\\x1]", "hexadecimal digits"},
      {"[\\07]", "octal"},
      {"\\u{110000}", "names no character"},
      {"\\ud83d", "names no character"},
      {"[b-a]", "no order"},
      {"[]", "an empty class"},
      {"[\"\\n]", "a quote"},
      {"a\\", "a backslash at the end"},
      {"say \"hi\"", "a quote"},
      {"a\\\\b", "a quote, backslash"},
      {"a\\nb", "control character"},
      {"[\"a]", "a quote"},
      {"[\\\\a]", "a quote, backslash"},
      {"\\x22", "a quote"},
      {"\\u0022", "a quote"},
      {"a.{1,80}", "bounded repetition"},
      {"(?:[^a]{3})", "bounded repetition"},
      {"(x.){2}", "bounded repetition"},
      {"\\S{2,}|x", "bounded repetition"},
      {"[a-z]{1,129}x", "130 characters; at most 128"},
      {"([a-z]{1,60}-){1,60}", "3660 characters; at most 128"},
      {"(a{1,512}){1,512}", "262144 characters"},
      {"((((((((a+)+)+)+)+)+)+)+)+", "256 characters"},
      {"[a-z]{99999999999}", "no repetition of the form"},
      {"a{", "no repetition of the form"},
      {"[abc", "has no ]"},
      {"(abc", ""},
  };
  for (const auto& [pattern, about] : cases) {
    const std::string problem = CheckPattern(pattern).problem;
    EXPECT_NE(problem, "") << pattern;
    EXPECT_NE(problem.find(about), std::string::npos) << pattern << ": " << problem;
  }
}

TEST(CheckPattern, KnowsTheLengthsOfTexts) {
  struct Case {
    std::string pattern;
    double shortest, longest;
    std::string repeated;
  };
  const double infinite = std::numeric_limits<double>::infinity();
  const Case cases[] = {{"", 0, 0, ""},
                        {"^abc$", 3, 3, ""},
                        {"^a$", 1, 1, "a*"},
                        {"^.{1,80}$", 1, 80, ".*"},
                        {"[^a]{3}?", 3, 3, "[ -!#-\\[\\]-`b-\\u{d7ff}\\u{e000}-\\u{10ffff}]*"},
                        {"\\S*", 0, infinite, "\\S*"},
                        {"a+", 1, infinite, "a*"},
                        {"a?b", 1, 2, ""},
                        {"(a|bcd|)e", 1, 4, ""},
                        {"(a(b|cc){2,3}){2}x*", 6, infinite, ""},
                        {"(a*){0}b", 1, infinite, ""},
                        {"^a$|^bbb$", 1, 3, ""}};
  for (const Case& c : cases) {
    const PatternCheck check = CheckPattern(c.pattern);
    EXPECT_EQ(check.problem, "") << c.pattern;
    EXPECT_EQ(check.shortest, c.shortest) << c.pattern;
    EXPECT_EQ(check.longest, c.longest) << c.pattern;
    EXPECT_EQ(check.repeated, c.repeated) << c.pattern;
  }
  EXPECT_TRUE(CheckPattern("[0-9]{20}").needs_counting);
  EXPECT_FALSE(CheckPattern("[0-9]{5}").needs_counting);
  EXPECT_TRUE(CheckPattern(".{5}").needs_counting);
}

TEST(CheckPattern, WritesCharactersInAscii) {
  EXPECT_EQ(CheckPattern("^中\\u4e2d\\ud83d\\ude00$").compiled, "^\\u{4e2d}\\u{4e2d}\\u{1f600}$");
  EXPECT_EQ(CheckPattern("[é-ü]{2}").compiled, "[\\u{e9}-\\u{fc}]{2}");
  EXPECT_EQ(CheckPattern("[\\^-a\\x5d]").compiled, "[\\]-a]");
  EXPECT_EQ(CheckPattern("[!-#\\d]").compiled, "[!#0-9]");
  EXPECT_EQ(CheckPattern("[\\^]").compiled, "\\^");
  EXPECT_EQ(CheckPattern("[a^]").compiled, "[a\\^]");
  EXPECT_EQ(CheckPattern("[\\^-z]").compiled, "[_-z\\^]");
}

TEST(CheckPattern, WritesOutWhatTheCompilerGetsWrong) {
  EXPECT_EQ(CheckPattern("^a(bc+)?d$").compiled, "^a(bc+|)d$");
  EXPECT_EQ(CheckPattern("^(ab*)+$").compiled, "^(ab*)(ab*)*$");
  EXPECT_EQ(CheckPattern("^(a){2,}?b+?$").compiled, "^(a){2}(a)*b+$");
  EXPECT_EQ(CheckPattern("^(a){0,}(b){1,3}$").compiled, "^(a)*(b){1,3}$");
}

class PatternLanguageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto tokenizer = tokenizer::Tokenizer::Load(std::string(std::getenv("HADAL_SOURCE_DIR")) + "/models/demo");
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = *tokenizer;
    auto compiler = GrammarCompiler::Create(tokenizer_, 1024);
    ASSERT_TRUE(compiler.ok()) << compiler.status();
    compiler_ = *compiler;
  }
  std::shared_ptr<const CompiledGrammar> Compile(const nlohmann::json& schema) {
    auto prepared = PrepareSchema(schema.dump(), SchemaDialect::kGeneral);
    EXPECT_TRUE(prepared.ok()) << prepared.status();
    auto compiled = compiler_->Compile(JsonSchemaSpec(*prepared, Reasoning::kNone));
    EXPECT_TRUE(compiled.ok()) << compiled.status();
    return *compiled;
  }
  bool Matches(const CompiledGrammar& grammar, const std::string& text) {
    auto constraint = grammar.Start();
    for (const char c : "\"" + text + "\"") {
      if (!constraint->Accept(*tokenizer_->TokenId(std::string(1, c))).ok()) return false;
    }
    return constraint->Accept(tokenizer_->eos_ids()[0]).ok();
  }

  std::shared_ptr<const tokenizer::Tokenizer> tokenizer_;
  std::shared_ptr<const GrammarCompiler> compiler_;
};

// Random patterns over three letters, against the standard library's matcher.
std::string RandomPattern(std::mt19937& random, int depth) {
  const char* atoms[] = {"a", "b", "c", "[ab]", "[bc]"};
  const char* quantifiers[] = {"", "", "", "?", "*", "+", "{2}", "{1,2}", "{0,2}", "{1,}", "{2,}", "*?"};
  std::string pattern;
  for (uint32_t i = 0, n = 1 + random() % 3; i < n; ++i) {
    if (depth > 0 && random() % 2 == 0) {
      pattern += "(?:" + RandomPattern(random, depth - 1) +
                 (random() % 3 == 0 ? "|" + RandomPattern(random, depth - 1) : "") + ")";
    } else {
      pattern += atoms[random() % 5];
    }
    pattern += quantifiers[random() % 12];
  }
  return pattern;
}

// Classes and escapes, over all of ASCII: what JSON writes escaped never matches, the rest does as ECMA-262 says.
TEST_F(PatternLanguageTest, EscapesAndClassesAreObeyed) {
  for (const char* pattern : {"^[\\^a]$", "^[a\\-c]$", "^[\\x41-\\x43]$", "^\\u0041$", "^[^\\x00-\\x40]$", "^[ -~]$",
                              "^\\W$", "^[\\D]$", "^[\\w-]$", "^\\.$", "^[.]$", "^[\\]\\[]$", "^[\\s\\S]$", "^\\x2e$",
                              "^[^\\^]$", "^\\-$", "^\\/$", "^[+-]$", "^.$"}) {
    const auto grammar = Compile({{"type", "string"}, {"pattern", pattern}});
    const std::regex expected(pattern, std::regex::ECMAScript);
    for (char c = 0x20; c < 0x7F; ++c) {
      const std::string text(1, c);
      if (!tokenizer_->TokenId(text).has_value()) continue;
      EXPECT_EQ(Matches(*grammar, text), c != '"' && c != '\\' && std::regex_match(text, expected))
          << pattern << " and " << text;
    }
  }
}

// With characters beyond ASCII the compiler would leave the rules of JSON strings.
TEST_F(PatternLanguageTest, OtherScriptsDoNotOpenTheString) {
  const auto grammar = Compile({{"type", "string"}, {"pattern", "^[\\u4e00-\\u9fa5中]*.*$"}});
  EXPECT_TRUE(Matches(*grammar, "ab"));
  EXPECT_FALSE(Matches(*grammar, "a\"b"));
}

TEST_F(PatternLanguageTest, IsThatOfTheStandardLibrary) {
  std::vector<std::string> texts = {""};
  for (size_t begin = 0; texts.back().size() < 4;) {
    const size_t end = texts.size();
    for (; begin < end; ++begin) {
      for (const char c : {'a', 'b', 'c'}) texts.push_back(texts[begin] + c);
    }
  }
  std::mt19937 random(7);
  int tested = 0;
  for (int i = 0; i < 150; ++i) {
    const std::string pattern = "^" + RandomPattern(random, 2) + "$";
    if (!CheckPattern(pattern).problem.empty()) continue;
    ++tested;
    const auto grammar = Compile({{"type", "string"}, {"pattern", pattern}});
    const std::regex expected(pattern);
    for (const std::string& text : texts) {
      ASSERT_EQ(Matches(*grammar, text), std::regex_match(text, expected)) << pattern << " on " << text;
    }
  }
  EXPECT_GT(tested, 100);
}

TEST_F(PatternLanguageTest, FormatsTakeWhatTheyShould) {
  const struct {
    const char* format;
    std::vector<std::string> good, bad;
  } cases[] = {
      {"date", {"2024-02-28", "1999-12-31"}, {"2024-02-30", "2024-13-01", "24-01-01", "2024-04-31"}},
      {"time", {"23:59:59Z", "00:00:00.125+01:30"}, {"24:00:00Z", "12:00:00", "12:00:00125Z"}},
      {"date-time", {"2024-02-28T10:00:00Z"}, {"2024-02-28 10:00:00Z", "2024-02-28"}},
      {"ipv4", {"0.0.0.0", "255.1.99.200"}, {"256.1.1.1", "01.1.1.1", "1.1.1"}},
      {"ipv6", {"1:2:3:4:5:6:7:8", "::1", "::", "fe80::1"}, {"1:2:3", "::12345", "1:2:3:4:5:6:7:8:9"}},
      {"email", {"a.b+c@d-e.org"}, {"a@b", "@b.c", "a..b@c.d", "a@b..c"}},
      {"hostname", {"a", "a-b.c"}, {"-a", "a.", "a..b"}},
      {"uuid", {"123e4567-e89b-12d3-a456-426614174000"}, {"123e4567"}},
      {"uri", {"https://a-b.c:80/x/%20?q=1/2"}, {"https://", "a/b", "http://a b", "http://a/%2"}},
      {"duration", {"P1D", "PT3H"}, {"1D"}},
  };
  for (const auto& one : cases) {
    const auto grammar = Compile({{"type", "string"}, {"format", one.format}});
    for (const std::string& text : one.good) EXPECT_TRUE(Matches(*grammar, text)) << one.format << " " << text;
    for (const std::string& text : one.bad) EXPECT_FALSE(Matches(*grammar, text)) << one.format << " " << text;
  }
}

}  // namespace
}  // namespace hadal::grammar
