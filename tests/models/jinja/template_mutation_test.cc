// SPDX-License-Identifier: Apache-2.0
// Templates with pieces cut out, doubled, swapped and mixed: they render, or they fail with a message, within their
// bounds.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "models/jinja/json_value.h"
#include "models/jinja/template.h"

namespace hadal::jinja {
namespace {

const char* const kTemplates[] = {
    "{% set ns = namespace(s='', n=0) %}{% for m in messages if m.role != 'tool' %}{% set ns.s = ns.s + m.content[:3] "
    "%}{% set ns.n = ns.n + loop.index %}{{ loop.previtem.role if loop.previtem is defined else '^' }}{% else %}none{% "
    "endfor %}{{ ns.s }}{{ ns.n // 2 % 7 }}",
    "{%- macro turn(role, text='-') -%}<|{{ role }}|>{{ text | trim }}{{ caller() if caller else '' }}{{ varargs }}{{ "
    "kwargs }}{%- endmacro -%}{% for m in messages %}{{ turn(m.role, m.content, 1, x=2) }}{% call turn('x') %}y{% "
    "endcall %}{% endfor %}",
    "{{ messages | map(attribute='role') | unique | sort(reverse=true) | join(', ') }}{{ messages | selectattr('role', "
    "'in', ['user']) | list | tojson(indent=2) }}{{ config | dictsort | batch(2) | list }}",
    "{% for t in tree recursive %}{{ t.name }}{{ loop(t.children) if t.children }}{% if loop.first %}{% continue %}{% "
    "endif %}{% break %}{% endfor %}{% raw %}{{ x }}{% endraw %}{# note #}",
    "{{ '%s %05d %.2f' % ('a', 3, 1.5) }}{{ '{} {x:>5}'.format(1, x='é') }}{{ 'a b'.split() + ['c'] * 3 }}{{ (1, "
    "2)[::-1] "
    "}}{{ 1 < 2 <= 3 != 4 }}{{ 'é🦙'[1] ~ 'x'.center(9, '*') }}{{ '\\u00e9\\x41\\n' | indent(2, true) | "
    "replace('A', "
    "'b', 1) }}",
    "{% filter upper | trim %}a{% set x %}b{{ x }}{% endset %}{% with y = x, z = 1 %}{{ y }}{{ z }}{% endwith %}{% "
    "endfilter %}{% generation %}{{ range(5) | sum }}{{ dict(a=1, **config) }}{% endgeneration %}",
};

Template::Variables Variables() {
  return {
      {"messages", *FromJson(R"([{"role": "system", "content": "Be kind."}, {"role": "user", "content": "你好🦙"},
                                     {"role": "assistant", "content": "a</think>b"}, {"role": "tool", "content": ""}])",
                             true)},
      {"tree", *FromJson(R"([{"name": "a", "children": [{"name": "b", "children": []}]}, {"name": "c"}])", true)},
      {"config", *FromJson(R"({"b": 1, "a": [1.5, null, true, {"k": "v"}], "c": 18446744073709551615})", true)},
      {"bos_token", Value::String("<s>", false)}};
}

// Words of the language, and whole tags of the templates.
std::vector<std::string> Pieces() {
  std::vector<std::string> pieces = {"{%",
                                     "%}",
                                     "{{",
                                     "}}",
                                     "-",
                                     "+",
                                     "'",
                                     "\"",
                                     "(",
                                     ")",
                                     "[",
                                     "]",
                                     "{",
                                     "}",
                                     ".",
                                     ":",
                                     "|",
                                     ",",
                                     "=",
                                     "==",
                                     "~",
                                     "*",
                                     "**",
                                     "//",
                                     "%",
                                     "not ",
                                     " in ",
                                     " is ",
                                     " if ",
                                     " else ",
                                     "loop",
                                     "loop.changed(loop)",
                                     "ns",
                                     "messages",
                                     "config",
                                     "x",
                                     "0",
                                     "-1",
                                     "99999999999",
                                     "1e308",
                                     "9223372036854775807",
                                     "none",
                                     "true",
                                     "'a' * 99999999",
                                     "range(99999)",
                                     "\\",
                                     "\n",
                                     " ",
                                     "é",
                                     "🦙",
                                     "{#",
                                     "#}",
                                     "{% raw %}",
                                     "{% set ns = ns %}",
                                     "{% set ns.x = [ns, ns.x] %}",
                                     "{% macro f(x) %}{{ f(x) }}",
                                     "{% endmacro %}",
                                     "{% endfor %}",
                                     "{% endif %}",
                                     "{% for i in messages recursive %}",
                                     "[::-1]",
                                     "| list",
                                     "| tojson",
                                     "| map('upper')",
                                     "| sort",
                                     "| unique",
                                     "| groupby('role')",
                                     ".items()",
                                     ".get('role')",
                                     ".split('')",
                                     ".join(messages)"};
  for (const std::string_view source : kTemplates) {
    for (size_t at = source.find("{%"); at != source.npos; at = source.find("{%", at + 2)) {
      pieces.emplace_back(source.substr(at, source.find("%}", at) + 2 - at));
    }
  }
  return pieces;
}

std::string Mutate(std::string text, const std::vector<std::string>& pieces, std::mt19937* random) {
  const auto below = [&](size_t n) { return n == 0 ? 0 : (*random)() % n; };
  for (size_t n = 1 + below(3); n > 0; --n) {
    const size_t at = below(text.size() + 1);
    switch (below(5)) {
      case 0:
        text.erase(at, 1 + below(8));
        break;
      case 1:
        text.insert(at, pieces[below(pieces.size())]);
        break;
      case 2:
        text.insert(at, text.substr(below(text.size() + 1), below(60)));
        break;
      case 3:
        text.insert(at, std::string(1, static_cast<char>(below(256))));
        break;
      default:
        text.insert(at, kTemplates[below(std::size(kTemplates))]);
    }
  }
  return text;
}

TEST(TemplateMutationTest, EveryMutationRendersOrFailsWithinItsBounds) {
  const Template::Variables variables = Variables();
  const std::vector<std::string> pieces = Pieces();
  Limits limits;
  limits.max_steps = 20'000;
  limits.max_memory_bytes = 1 << 20;
  limits.max_output_bytes = 1 << 16;
  std::mt19937 random(20260929);
  int compiled_count = 0, rendered_count = 0;
  for (int round = 0; round < 20000; ++round) {
    const std::string source = Mutate(kTemplates[random() % std::size(kTemplates)], pieces, &random);
    const auto compiled = Template::Compile(source, "t");
    if (!compiled.ok()) {
      ASSERT_EQ(compiled.status().code(), absl::StatusCode::kInvalidArgument) << source;
      continue;
    }
    ++compiled_count;
    const auto text = (*compiled)->Render(variables, limits);
    if (!text.ok()) {
      ASSERT_EQ(text.status().code(), absl::StatusCode::kInvalidArgument) << source;
      ASSERT_FALSE(text.status().message().empty()) << source;
      continue;
    }
    ++rendered_count;
    ASSERT_LE(text->size(), limits.max_output_bytes) << source;
  }
  EXPECT_GT(compiled_count, 600);
  EXPECT_GT(rendered_count, 300);
}

TEST(TemplateMutationTest, EveryCutOfATemplateEndsInTime) {
  const Template::Variables variables = Variables();
  for (const std::string_view source : kTemplates) {
    for (size_t cut = 0; cut < source.size(); ++cut) {
      const auto compiled = Template::Compile(source.substr(0, cut), "t");
      if (!compiled.ok()) continue;
      EXPECT_NE((*compiled)->Render(variables).status().code(), absl::StatusCode::kInternal);
    }
  }
}

}  // namespace
}  // namespace hadal::jinja
