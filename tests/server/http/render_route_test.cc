// SPDX-License-Identifier: Apache-2.0
#include "server/http/render_route.h"

#include <string>

#include "gtest/gtest.h"
#include "tests/server/http/http_fixture.h"

namespace hadal::http {
namespace {

using hadal::testing::ExpectError;
using hadal::testing::HttpFixture;
using hadal::testing::kAsk;
using hadal::testing::kChat;
using hadal::testing::ServiceFixture;
using nlohmann::json;

constexpr char kRenderChat[] = "/v1/chat/completions/render";
constexpr char kRenderPlain[] = "/v1/completions/render";

TEST(RenderRouteTest, AChatsTokensAreThoseThatItsAnswerCounts) {
  HttpFixture fixture(ServiceFixture::Says("</think>x"));
  const json rendered = HttpFixture::Json(fixture.Do("POST", kRenderChat, kAsk, "x-request-id: r1\r\n"));
  const json answer = HttpFixture::Json(fixture.Do("POST", kChat, kAsk));
  EXPECT_EQ(rendered["token_ids"].size(), answer["usage"]["prompt_tokens"]);
  EXPECT_EQ(rendered["request_id"], "chatcmpl-r1");
  EXPECT_EQ(rendered["model"], "demo");
  for (const char* name : {"features", "stream_options", "cache_salt", "kv_transfer_params"}) {
    EXPECT_TRUE(rendered.contains(name) && rendered[name].is_null()) << name;
  }
  EXPECT_EQ(rendered["stream"], false);
  EXPECT_EQ(rendered["priority"], 0);
  // What the caller left out is filled in.
  EXPECT_EQ(rendered["sampling_params"]["max_tokens"].get<size_t>(), 512 - rendered["token_ids"].size());
  EXPECT_EQ(rendered["sampling_params"]["n"], 1);
  EXPECT_TRUE(rendered["sampling_params"]["seed"].is_null());
  EXPECT_TRUE(fixture.base.WaitEmpty());
}

TEST(RenderRouteTest, SettingsAreTheCallers) {
  HttpFixture fixture(ServiceFixture::Says("x"));
  const json rendered = HttpFixture::Json(fixture.Do(
      "POST", kRenderChat,
      R"({"model":"demo","messages":[{"role":"user","content":"x"}],"temperature":0.5,"top_p":0.25,"seed":7,"n":2,)"
      R"("max_tokens":9,"stop":["a","b"],"stream":true,"stream_options":{"include_usage":true},"cache_salt":"s"})"));
  const json& sampling = rendered["sampling_params"];
  EXPECT_EQ(sampling["temperature"], 0.5);
  EXPECT_EQ(sampling["top_p"], 0.25);
  EXPECT_EQ(sampling["seed"], 7);
  EXPECT_EQ(sampling["n"], 2);
  EXPECT_EQ(sampling["max_tokens"], 9);
  EXPECT_EQ(sampling["stop"], json({"a", "b"}));
  EXPECT_EQ(rendered["stream"], true);
  EXPECT_EQ(rendered["cache_salt"], "s");
}

TEST(RenderRouteTest, PlainPromptsComeAsAList) {
  HttpFixture fixture(ServiceFixture::Says("x"));
  const json one = HttpFixture::Json(fixture.Do("POST", kRenderPlain, R"({"prompt":"17 + 25"})"));
  ASSERT_EQ(one.size(), 1u);
  const json tokens = HttpFixture::Json(fixture.Do("POST", "/tokenize", R"({"prompt":"17 + 25"})"));
  EXPECT_EQ(one[0]["token_ids"], tokens["tokens"]);
  EXPECT_EQ(one[0]["sampling_params"]["max_tokens"], 16);
  const json three =
      HttpFixture::Json(fixture.Do("POST", kRenderPlain, R"({"prompt":["a","b","c"]})", "x-request-id: r\r\n"));
  ASSERT_EQ(three.size(), 3u);
  EXPECT_EQ(three[2]["request_id"], "cmpl-r-2");
  EXPECT_NE(three[0]["token_ids"], three[1]["token_ids"]);
  const json ids = HttpFixture::Json(fixture.Do("POST", kRenderPlain, R"({"prompt":[5,6,7]})"));
  EXPECT_EQ(ids[0]["token_ids"], json({5, 6, 7}));
}

TEST(RenderRouteTest, TheOtherApisRenderTheSameChat) {
  HttpFixture fixture(ServiceFixture::Says("x"));
  const json chat = HttpFixture::Json(fixture.Do("POST", kRenderChat, kAsk));
  const json messages = HttpFixture::Json(
      fixture.Do("POST", "/v1/messages/render",
                 R"({"model":"demo","max_tokens":9,"messages":[{"role":"user","content":"17 + 25"}]})"));
  EXPECT_EQ(messages["token_ids"], chat["token_ids"]);
  EXPECT_EQ(messages["sampling_params"]["max_tokens"], 9);
  const json responses =
      HttpFixture::Json(fixture.Do("POST", "/v1/responses/render", R"({"model":"demo","input":"17 + 25"})"));
  EXPECT_EQ(responses["token_ids"], chat["token_ids"]);
}

TEST(RenderRouteTest, ErrorsAreThoseOfTheGeneratingRoute) {
  HttpFixture fixture(ServiceFixture::Says("x"));
  ExpectError(fixture.Do("POST", kRenderChat, "{"), 400, "INVALID_REQUEST");
  ExpectError(fixture.Do("POST", kRenderChat, R"({"model":"nobody","messages":[{"role":"user","content":"x"}]})"), 404,
              "MODEL_NOT_FOUND");
  ExpectError(fixture.Do("POST", kRenderPlain, json{{"prompt", json::array({5, 99999999})}}.dump()), 400,
              "INVALID_REQUEST");
  const hadal::testing::HttpReply too_long =
      fixture.Do("POST", kRenderPlain, json{{"prompt", "x"}, {"max_tokens", 5000}}.dump());
  EXPECT_EQ(too_long.status, 400);
  EXPECT_EQ(HttpFixture::Json(too_long)["error"]["code"], "context_length_exceeded");
  ExpectError(fixture.Do("GET", kRenderChat), 405, "METHOD_NOT_ALLOWED");
  EXPECT_TRUE(fixture.base.WaitEmpty());
}

TEST(RenderRouteTest, NoGrammarIsCompiledAndNoPlaceIsTaken) {
  ServiceFixture::Options service;
  service.max_queue_requests = 1;
  HttpFixture::Options options;
  options.service = service;
  HttpFixture fixture(hadal::testing::Holds(), options);
  // A schema that no compiler takes does not matter: it changes no token.
  const hadal::testing::HttpReply reply =
      fixture.Do("POST", kRenderChat,
                 R"({"messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_schema","json_schema":)"
                 R"({"name":"n","schema":{"type":"object","properties":{"a":{"type":"string"}}}}}})");
  EXPECT_EQ(reply.status, 200) << reply.body;
  EXPECT_TRUE(fixture.base.Empty());
  EXPECT_NE(fixture.Do("GET", "/metrics").body.find("hadal_grammar_requests_total{result=\"miss\"} 0"),
            std::string::npos);
}

}  // namespace
}  // namespace hadal::http
