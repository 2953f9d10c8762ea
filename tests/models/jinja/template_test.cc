// SPDX-License-Identifier: Apache-2.0
// The contract of Template; what templates mean is compared with Python's jinja2 by test_jinja_parity.py.
#include "models/jinja/template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "models/jinja/json_value.h"

namespace hadal::jinja {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

Template::Variables Variables() {
  return {{"bos_token", Value::String("<s>", false)},
          {"messages", *FromJson(R"([{"role": "user", "content": "<s>hi"}])", /*input=*/true)}};
}

// The text with the stretches of clients in [brackets], or the error.
std::string Render(std::string_view source, const Limits& limits = {}) {
  const auto compiled = Template::Compile(source, "chat_template.jinja");
  if (!compiled.ok()) return std::string(compiled.status().message());
  const auto text = (*compiled)->Render(Variables(), limits);
  if (!text.ok()) return std::string(text.status().message());
  std::string out;
  text->ForEachRun(
      [&](std::string_view bytes, bool input) { out += input ? "[" + std::string(bytes) + "]" : std::string(bytes); });
  return out;
}

TEST(TemplateTest, MarksWhatTheClientWrote) {
  EXPECT_EQ(Render("{{ bos_token }}{% for m in messages %}<u>{{ m.content }}</u>{% endfor %}"), "<s><u>[<s>hi]</u>");
  EXPECT_EQ(Render("{{ messages[0] | tojson }}"), R"({"[role]": "[user]", "[content]": "[<s>hi]"})");
  EXPECT_EQ(Render("{{ messages[0].content.split('s') | join('<s>') }}"), "[<]<s>[>hi]");
}

TEST(TemplateTest, ErrorsOfTheSourceNameFileAndLine) {
  EXPECT_EQ(Render("a\n{% if %}"), "chat_template.jinja, line 2: expected an expression, found '%}'");
  EXPECT_EQ(Render("\n{{ x | nope }}"), "chat_template.jinja, line 2: no filter named 'nope'");
  EXPECT_THAT(Render("{% if x %}"), HasSubstr("is not closed with endif"));
  EXPECT_THAT(Render("{% include 'x' %}"), HasSubstr("no other templates"));
  EXPECT_THAT(Render("\xFF"), HasSubstr("not UTF-8 at byte 0"));
  EXPECT_THAT(Render(std::string(Template::kMaxSourceBytes + 1, ' ')), HasSubstr("the limit is"));
}

TEST(TemplateTest, ErrorsOfARenderNameTheLine) {
  EXPECT_EQ(Render("\n\n{{ missing.name }}"), "chat template, line 3: 'missing' is undefined");
  EXPECT_EQ(Render("{{ raise_exception('no ' + messages[0].role) }}"), "no user");
}

TEST(TemplateTest, EveryBoundHolds) {
  Limits limits;
  limits.max_steps = 1000;
  limits.max_memory_bytes = 4096;
  limits.max_output_bytes = 100;
  limits.max_depth = 50;
  EXPECT_THAT(Render("{% for i in range(9999) %}{% endfor %}", limits), HasSubstr("more than 1000 steps"));
  EXPECT_THAT(Render("{{ ('a' * 9999) | length }}", limits), HasSubstr("more than 4096 bytes"));
  EXPECT_THAT(Render("{% for i in range(20) %}aaaaaaaaaa{% endfor %}", limits),
              HasSubstr("writes more than 100 bytes"));
  EXPECT_THAT(Render("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", limits), HasSubstr("more than 50 levels"));
  EXPECT_EQ(Render("{{ 1 }}", limits), "1");
}

TEST(TemplateTest, ShowsTheTimeThatItIsGiven) {
  Limits limits;
  limits.now = 86'400;
  EXPECT_THAT(Render("{{ strftime_now('%Y') }}", limits), StartsWith("1970"));
}

TEST(TemplateTest, ALoopThatWasPutAwayIsNotCalledLater) {
  EXPECT_THAT(Render("{% set ns = namespace() %}{% for i in [1] recursive %}{% set ns.l = loop %}{% endfor %}"
                     "{{ ns.l.index }}{{ ns.l([1]) }}"),
              HasSubstr("must be marked as recursive and be running"));
}

TEST(TemplateTest, KnowsWhichVariablesItReads) {
  const auto compiled = Template::Compile("{% if enable_thinking %}{{ messages }}{% endif %}", "t");
  ASSERT_TRUE(compiled.ok());
  EXPECT_TRUE((*compiled)->Reads("enable_thinking"));
  EXPECT_FALSE((*compiled)->Reads("tools"));
}

TEST(TemplateTest, ThreadsShareOneTemplate) {
  const auto compiled = Template::Compile("{% for m in messages %}{{ m.content ~ ['x'] }}{% endfor %}", "t");
  ASSERT_TRUE(compiled.ok());
  const Template::Variables variables = Variables();
  std::vector<std::string> results(4);
  std::vector<std::thread> threads;
  for (std::string& result : results) {
    threads.emplace_back([&] {
      for (int i = 0; i < 100; ++i) result = (*compiled)->Render(variables)->bytes();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& result : results) EXPECT_EQ(result, "<s>hi['x']");
}

}  // namespace
}  // namespace hadal::jinja
