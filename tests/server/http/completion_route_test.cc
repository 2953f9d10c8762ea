// SPDX-License-Identifier: Apache-2.0
// Plain completions, tokenize and detokenize through the whole HTTP server.
#include "gtest/gtest.h"
#include "tests/server/http/http_fixture.h"

namespace hadal::http {
namespace {

using hadal::testing::DemoEncode;
using hadal::testing::DemoTokenizer;
using hadal::testing::HttpFixture;
using hadal::testing::HttpReply;
using hadal::testing::Script;
using hadal::testing::ServiceFixture;
using nlohmann::json;

TEST(CompletionRouteTest, AnswersATextPrompt) {
  HttpFixture fixture(ServiceFixture::Says("42"));
  const HttpReply reply = fixture.Do("POST", "/v1/completions", R"({"prompt":"17 + 25 ="})");
  ASSERT_EQ(reply.status, 200) << reply.body;
  const json body = HttpFixture::Json(reply);
  EXPECT_EQ(body["object"], "text_completion");
  EXPECT_EQ(body["id"].get<std::string>().substr(0, 5), "cmpl-");
  EXPECT_EQ(body["choices"][0]["text"], "42");
  EXPECT_EQ(body["choices"][0]["finish_reason"], "stop");
  EXPECT_TRUE(body["choices"][0]["logprobs"].is_null());
  EXPECT_EQ(body["usage"]["prompt_tokens"], DemoEncode("17 + 25 =").size() + 1);  // bos in front
}

TEST(CompletionRouteTest, SixteenTokensByDefault) {
  HttpFixture fixture([](const request::Request&) {
    Script script;
    script.tokens = DemoEncode("a");
    script.endless = true;
    return script;
  });
  const json body = HttpFixture::Json(fixture.Do("POST", "/v1/completions", R"({"prompt":"x"})"));
  EXPECT_EQ(body["usage"]["completion_tokens"], 16);
  EXPECT_EQ(body["choices"][0]["finish_reason"], "length");
}

TEST(CompletionRouteTest, SeveralPromptsGiveTheirChoicesInOrder) {
  HttpFixture fixture([](const request::Request& request) {
    Script script;
    script.tokens = {request.prompt.back()};  // says the last token of the prompt again
    return script;
  });
  for (const bool stream : {false, true}) {
    const std::string body = std::string(R"({"prompt":["a","b",)") + std::to_string(0) + "]}";
    EXPECT_EQ(fixture.Do("POST", "/v1/completions", body).status, 422);  // strings and numbers mixed
    const HttpReply reply =
        fixture.Do("POST", "/v1/completions",
                   std::string(R"({"prompt":["a","b","c"],"n":2,"stream":)") + (stream ? "true}" : "false}"));
    ASSERT_EQ(reply.status, 200) << reply.body;
    std::vector<std::string> texts(6);
    if (stream) {
      for (const json& event : HttpFixture::Events(reply.body)) {
        texts[event["choices"][0]["index"].get<size_t>()] += event["choices"][0]["text"].get<std::string>();
      }
    } else {
      const json answer = HttpFixture::Json(reply);
      ASSERT_EQ(answer["choices"].size(), 6u);
      for (size_t i = 0; i < 6; ++i) {
        EXPECT_EQ(answer["choices"][i]["index"], i);
        texts[i] = answer["choices"][i]["text"];
      }
    }
    EXPECT_EQ(texts, (std::vector<std::string>{"a", "a", "b", "b", "c", "c"}));
  }
  EXPECT_TRUE(fixture.base.WaitEmpty());
}

TEST(CompletionRouteTest, TokenIdPrompts) {
  HttpFixture fixture(ServiceFixture::Says("x"));
  json body = {{"prompt", DemoEncode("17 + 25")}, {"return_token_ids", true}};
  json answer = HttpFixture::Json(fixture.Do("POST", "/v1/completions", body.dump()));
  EXPECT_EQ(answer["choices"][0]["prompt_token_ids"], body["prompt"]);
  EXPECT_EQ(answer["usage"]["prompt_tokens"], body["prompt"].size());
  body["prompt"] = {DemoEncode("1"), DemoEncode("2")};
  EXPECT_EQ(HttpFixture::Json(fixture.Do("POST", "/v1/completions", body.dump()))["choices"].size(), 2u);
  body["prompt"] = {1, 1 << 20};
  EXPECT_EQ(fixture.Do("POST", "/v1/completions", body.dump()).status, 400);
  EXPECT_EQ(fixture.Do("POST", "/v1/completions", R"({"prompt":[]})").status, 400);
  EXPECT_EQ(fixture.Do("POST", "/v1/completions", R"({"prompt":[[]]})").status, 400);
  EXPECT_EQ(fixture.Do("POST", "/v1/completions", R"({"prompt":{}})").status, 422);
}

TEST(CompletionRouteTest, SpecialTokensAreAddedUnlessTheCallerSaysNo) {
  HttpFixture fixture(ServiceFixture::Says("x"));
  const auto prompt_ids = [&](std::string_view more) {
    const std::string body = R"({"prompt":"17","return_token_ids":true)" + std::string(more) + "}";
    return HttpFixture::Json(fixture.Do("POST", "/v1/completions", body))["choices"][0]["prompt_token_ids"];
  };
  json with = prompt_ids("");
  EXPECT_EQ(with.size(), DemoEncode("17").size() + 1);
  EXPECT_EQ(prompt_ids(R"(,"add_special_tokens":true)"), with);
  EXPECT_EQ(prompt_ids(R"(,"add_special_tokens":false)"), json(DemoEncode("17")));
}

TEST(CompletionRouteTest, EchoAndLogprobsScoreThePrompt) {
  HttpFixture fixture(ServiceFixture::Says("not reached"));
  const std::string request = R"({"prompt":"17 + 25","echo":true,"logprobs":2,"max_tokens":0)";
  const size_t prompt_tokens = DemoEncode("17 + 25").size() + 1;
  const json choice = HttpFixture::Json(fixture.Do("POST", "/v1/completions", request + "}"))["choices"][0];
  EXPECT_EQ(choice["text"], "17 + 25");
  EXPECT_EQ(choice["finish_reason"], "length");
  const json& logprobs = choice["logprobs"];
  ASSERT_EQ(logprobs["tokens"].size(), prompt_tokens);
  EXPECT_EQ(logprobs["token_logprobs"].size(), prompt_tokens);
  EXPECT_EQ(logprobs["top_logprobs"].size(), prompt_tokens);
  EXPECT_TRUE(logprobs["token_logprobs"][0].is_null());
  EXPECT_TRUE(logprobs["top_logprobs"][0].is_null());
  EXPECT_EQ(logprobs["token_logprobs"][1], -0.5);
  for (size_t i = 1; i < prompt_tokens; ++i) {
    const json& top = logprobs["top_logprobs"][i];
    const std::string token = logprobs["tokens"][i];
    ASSERT_TRUE(top.contains(token)) << top;
    EXPECT_EQ(top[token], logprobs["token_logprobs"][i]);
    EXPECT_LE(top.size(), 3u) << "two and the token itself";
  }
  EXPECT_EQ(logprobs["text_offset"][1], 0);  // bos has no text
  EXPECT_EQ(logprobs["text_offset"].back().get<size_t>() + logprobs["tokens"].back().get<std::string>().size(), 7u);

  std::string text;
  size_t tokens = 0;
  for (const json& event :
       HttpFixture::Events(fixture.Do("POST", "/v1/completions", request + R"(,"stream":true})").body)) {
    text += event["choices"][0]["text"].get<std::string>();
    if (!event["choices"][0]["logprobs"].is_null()) tokens += event["choices"][0]["logprobs"]["tokens"].size();
  }
  EXPECT_EQ(text, "17 + 25");
  EXPECT_EQ(tokens, prompt_tokens);
}

TEST(CompletionRouteTest, EchoedOffsetsGoOnBehindThePrompt) {
  HttpFixture fixture(ServiceFixture::Says("é!"));
  const json choice = HttpFixture::Json(
      fixture.Do("POST", "/v1/completions", R"({"prompt":"né","echo":true,"logprobs":0})"))["choices"][0];
  EXPECT_EQ(choice["text"], "néé!");
  const json& offsets = choice["logprobs"]["text_offset"];
  EXPECT_EQ(offsets.back(), 3);  // characters, not bytes
  EXPECT_EQ(offsets.size(), choice["logprobs"]["tokens"].size());
}

TEST(CompletionRouteTest, FillInTheMiddleUsesTheModelsTokens) {
  HttpFixture fixture(ServiceFixture::Says("x"));
  const json answer = HttpFixture::Json(
      fixture.Do("POST", "/v1/completions", R"({"prompt":"def f(","suffix":"): pass","return_token_ids":true})"));
  const std::vector<int32_t> ids = answer["choices"][0]["prompt_token_ids"];
  for (const char* token : {"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"}) {
    EXPECT_EQ(std::count(ids.begin(), ids.end(), *DemoTokenizer()->TokenId(token)), 1) << token;
  }
  EXPECT_EQ(fixture.Do("POST", "/v1/completions", R"({"prompt":"a","suffix":"b","echo":true})").status, 400);
}

TEST(CompletionRouteTest, RefusesBestOf) {
  HttpFixture fixture(ServiceFixture::Says("x"));
  EXPECT_EQ(fixture.Do("POST", "/v1/completions", R"({"prompt":"a","best_of":3})").status, 501);
  EXPECT_EQ(fixture.Do("POST", "/v1/completions", R"({"prompt":"a","best_of":1})").status, 200);
}

TEST(CompletionRouteTest, APromptThatFindsNoPlaceRefusesAll) {
  HttpFixture::Options options;
  options.service.max_queue_requests = 2;
  HttpFixture fixture(ServiceFixture::Says("x"), options);
  fixture.base.engine->Pause(true);
  const HttpReply reply = fixture.Do("POST", "/v1/completions", R"({"prompt":["a","b","c"]})");
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(HttpFixture::Json(reply)["error"]["code"], "CONNECTION_QUEUE_FULL");
  EXPECT_TRUE(fixture.base.WaitEmpty());
}

TEST(CompletionRouteTest, TokenizeAndDetokenizeHaveVllmShapes) {
  HttpFixture fixture(ServiceFixture::Says("x"));
  const json tokens = HttpFixture::Json(
      fixture.Do("POST", "/tokenize", R"({"model":"demo","prompt":"17 加 25","return_token_strs":true})"));
  EXPECT_EQ(tokens["count"], tokens["tokens"].size());
  EXPECT_EQ(tokens["max_model_len"], 512);
  EXPECT_EQ(tokens["tokens"][0], 0);  // bos
  EXPECT_EQ(tokens["token_strs"].size(), tokens["tokens"].size());
  const json text = HttpFixture::Json(
      fixture.Do("POST", "/detokenize", json{{"tokens", tokens["tokens"]}, {"skip_special_tokens", true}}.dump()));
  EXPECT_EQ(text["prompt"], "17 加 25");
  const json chat = HttpFixture::Json(
      fixture.Do("POST", "/tokenize", R"({"messages":[{"role":"user","content":"hi"}],"add_generation_prompt":true})"));
  EXPECT_GT(chat["count"].get<int>(), 2);
  EXPECT_TRUE(chat["token_strs"].is_null());
  EXPECT_EQ(fixture.Do("POST", "/tokenize", "{}").status, 400);
  EXPECT_EQ(fixture.Do("POST", "/detokenize", R"({"tokens":["a"]})").status, 422);
  EXPECT_EQ(fixture.Do("POST", "/detokenize", R"({"tokens":[99999999]})").status, 400);
  EXPECT_EQ(fixture.Do("POST", "/tokenize", R"({"model":"nobody","prompt":"x"})").status, 404);
}

}  // namespace
}  // namespace hadal::http
