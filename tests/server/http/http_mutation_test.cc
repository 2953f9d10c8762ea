// SPDX-License-Identifier: Apache-2.0
// Seeded mutations of request bytes and JSON bodies: never a crash, a hang or a limit passed. HADAL_FUZZ_ITERATIONS
// sets their number (default 12,000 for each test that runs on the codecs; a tenth of it goes through a whole server).
#include <sys/socket.h>

#include <cstdlib>
#include <random>

#include "gtest/gtest.h"
#include "server/http/codec/chat_codec.h"
#include "server/http/codec/completion_codec.h"
#include "server/http/codec/messages_codec.h"
#include "server/http/codec/responses_codec.h"
#include "server/http/codec/route.h"
#include "server/http/request_reader.h"
#include "tests/server/http/http_fixture.h"
#include "tests/support/status_matchers.h"

namespace hadal::http {
namespace {

using hadal::testing::HttpFixture;
using hadal::testing::HttpReply;
using hadal::testing::RawHttpClient;
using hadal::testing::ServiceFixture;

int Iterations() {
  const char* text = std::getenv("HADAL_FUZZ_ITERATIONS");
  return text == nullptr ? 12000 : std::atoi(text);
}

const std::vector<std::string>& Bodies() {
  static const std::vector<std::string> bodies = {
      R"({"model":"demo","messages":[{"role":"user","content":"17 + 25"}],"max_tokens":4,"temperature":0.5,"stream":true})",
      R"({"messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"a"}]},{"role":)"
      R"("assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},)"
      R"({"role":"tool","tool_call_id":"c","content":"1"}],"tools":[{"type":"function","function":{"name":"f","parameters":)"
      R"({"type":"object","properties":{"a":{"type":"integer"}}}}}],"logit_bias":{"5":1.5},"stop":["a","b"],"n":2,)"
      R"("logprobs":true,"top_logprobs":2,"max_tokens":3,"thinking":{"type":"disabled"}})",
      R"({"prompt":["a",[1,2,3],"é😀\u0041\n"],"echo":true,"logprobs":1,"max_tokens":2,"seed":18446744073709551615})",
      R"({"prompt":[1,2,3],"suffix":null,"stop":"x","max_tokens":2,"stream":true,"stream_options":{"include_usage":true}})",
      R"({"tokens":[1,2,3],"model":"demo","skip_special_tokens":true})",
      R"({"max_tokens":3,"system":[{"type":"text","text":"s"}],"messages":[{"role":"user","content":[{"type":"text","text":"a"}]},)"
      R"({"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":"x"},{"type":"tool_use","id":"c","name":"f",)"
      R"("input":{"a":1}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":"1"}]}],"tools":[{"name":"f",)"
      R"("input_schema":{"type":"object"}}],"thinking":{"type":"enabled","budget_tokens":2},"stop_sequences":["a"],"stream":true})",
      R"({"input":[{"role":"user","content":[{"type":"input_text","text":"a"}]},{"type":"reasoning","summary":[],)"
      R"("encrypted_content":"hadal1.YQ"},{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},)"
      R"({"type":"function_call_output","call_id":"c","output":"1"}],"instructions":"s","max_output_tokens":3,"stream":true,)"
      R"("tools":[{"type":"function","name":"f","parameters":{"type":"object"}}],"text":{"format":{"type":"json_object"}}})",
  };
  return bodies;
}

// One to eight changes: flipped, inserted, removed or repeated bytes, and pieces that parsers care about.
std::string Mutate(std::string text, std::mt19937* random) {
  static const std::vector<std::string> kPieces = {"{",
                                                   "}",
                                                   "[",
                                                   "]",
                                                   "\"",
                                                   ":",
                                                   ",",
                                                   "null",
                                                   "true",
                                                   "-1",
                                                   "1e999",
                                                   "-0",
                                                   "99999999999999999999",
                                                   "\\u0000",
                                                   "\\ud800",
                                                   "\xff",
                                                   "\xf0\x9f",
                                                   "\r\n",
                                                   "\r\n\r\n",
                                                   "\n",
                                                   " ",
                                                   "0\r\n\r\n",
                                                   "Content-Length: 7\r\n",
                                                   "Transfer-Encoding: chunked\r\n",
                                                   "Expect: 100-continue\r\n",
                                                   "Connection: close\r\n",
                                                   "ffffffffffffffff\r\n",
                                                   "%zz",
                                                   "HTTP/1.1",
                                                   "[[[[[[[[[[[[[[[[",
                                                   std::string(1, '\0'),
                                                   std::string(300, 'a'),
                                                   std::string(100, '[')};
  for (int change = static_cast<int>((*random)() % 8); change >= 0; --change) {
    const size_t at = text.empty() ? 0 : (*random)() % text.size();
    switch ((*random)() % 6) {
      case 0:
        if (!text.empty()) text[at] = static_cast<char>((*random)());
        break;
      case 1:
        text.insert(at, 1, static_cast<char>((*random)()));
        break;
      case 2:
        text.erase(at, 1 + (*random)() % 12);
        break;
      case 3:
        text.insert(at, kPieces[(*random)() % kPieces.size()]);
        break;
      case 4:
        text.insert(at, text.substr((*random)() % (text.size() + 1), (*random)() % 60));
        break;
      case 5:
        text.resize(at);
        break;
    }
  }
  return text;
}

TEST(HttpMutationTest, BodiesDecodeOrAreRefused) {
  std::mt19937 random(1);
  int good = 0;
  for (int i = 0; i < Iterations(); ++i) {
    const std::string body = Mutate(Bodies()[random() % Bodies().size()], &random);
    const auto check = [&](const absl::Status& status) {
      if (status.ok()) {
        ++good;
        return;
      }
      const request::Reason reason = request::GetErrorDetail(status).reason;
      ASSERT_TRUE(reason == request::Reason::kInvalidRequest || reason == request::Reason::kOutOfRange ||
                  reason == request::Reason::kUnsupported)
          << status << body;
    };
    check(DecodeChat(body, 64, true).status());
    check(DecodeCompletion(body, 64).status());
    check(DecodeMessages(body, 64).status());
    check(DecodeResponses(body, 64).status());
    check(DecodeTokenize(body, 64).status());
    check(DecodeDetokenize(body, 64).status());
    if (auto chat = DecodeChat(body, 64, true); chat.ok()) check(service::Validate(chat->call));
  }
  EXPECT_GT(good, 0);  // the mutations must not all be refused at the first byte
}

std::string Head(size_t body_bytes, std::mt19937* random) {
  static const std::vector<std::string> kTargets = {"/v1/chat/completions",
                                                    "/v1/completions",
                                                    "/tokenize",
                                                    "/detokenize",
                                                    "/v1/models/demo",
                                                    "/health/live",
                                                    "/v1/chat",
                                                    "/v1/messages",
                                                    "/v1/responses",
                                                    "/v1/messages/count_tokens",
                                                    "/api/chat",
                                                    "/api/generate",
                                                    "/api/show",
                                                    "/v1/chat/completions/control"};
  std::string head =
      ((*random)() % 5 == 0 ? "GET " : "POST ") + kTargets[(*random)() % kTargets.size()] + " HTTP/1.1\r\nHost: t\r\n";
  if ((*random)() % 3 == 0) head += "x-request-id: r\r\nx-hadal-priority: low\r\n";
  return head + "Content-Length: " + std::to_string(body_bytes) + "\r\n\r\n";
}

std::string Chunked(std::string_view body, std::mt19937* random) {
  std::string text = "POST /v1/completions HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n";
  while (!body.empty()) {
    const size_t size = std::min<size_t>(1 + (*random)() % 15, body.size());
    text += "0123456789abcdef"[size];
    text.append("\r\n").append(body.substr(0, size)).append("\r\n");
    body.remove_prefix(size);
  }
  return text + "0\r\n\r\n";
}

std::string MutatedRequest(std::mt19937* random) {
  const std::string& body = Bodies()[(*random)() % Bodies().size()];
  switch ((*random)() % 3) {
    case 0:
      return Mutate(Head(body.size(), random) + body, random);
    case 1:
      return Mutate(Chunked(body, random), random);
    default: {
      const std::string mutated = Mutate(body, random);
      return Head(mutated.size(), random) + mutated;
    }
  }
}

TEST(HttpMutationTest, RequestsAreReadOrRefusedWithinTheirLimits) {
  std::mt19937 random(2);
  RequestReader::Limits limits;
  limits.header_bytes = 1024;
  limits.target_bytes = 256;
  limits.body_bytes = 512;
  int done = 0;
  for (int i = 0; i < Iterations(); ++i) {
    const std::string bytes = MutatedRequest(&random);
    RequestReader reader(limits);
    for (size_t at = 0; at < bytes.size();) {
      const size_t size = std::min<size_t>(1 + random() % 200, bytes.size() - at);
      reader.Feed(std::string_view(bytes).substr(at, size));
      reader.Feed({});
      at += size;
    }
    if (reader.state() == RequestReader::State::kDone) {
      ++done;
      ASSERT_LE(static_cast<int64_t>(reader.TakeBody().size()), limits.body_bytes);
      std::string allow;
      FindRoute(reader.head().method, reader.head().target, &allow).status().IgnoreError();
    } else if (reader.state() == RequestReader::State::kError) {
      ASSERT_FALSE(reader.error().ok());
      ASSERT_GE(request::WireErrorFor(request::GetErrorDetail(reader.error()).reason).http_status, 400);
    }
  }
  EXPECT_GT(done, 0);
}

TEST(HttpMutationTest, AWholeServerAnswersOrClosesAndStaysWell) {
  HttpFixture::Options options;
  options.http.request_timeout = absl::Milliseconds(300);
  options.http.linger_timeout = absl::Milliseconds(100);
  options.service.max_queue_requests = 1024;
  HttpFixture fixture(ServiceFixture::Says("</think>ok"), options);
  std::mt19937 random(3);
  const int rounds = std::max(Iterations() / 10, 1);
  for (int i = 0; i < rounds; ++i) {
    RawHttpClient client(fixture.port());
    ASSERT_TRUE(client.connected());
    client.Send(MutatedRequest(&random));
    ::shutdown(client.fd(), random() % 2 ? SHUT_WR : SHUT_RD);
    if (random() % 4 == 0) client.ReadMore(20);
    if (i % 200 == 0) {
      ASSERT_EQ(fixture.Do("GET", "/health/live").status, 200);
      const HttpReply reply = fixture.Do("POST", "/v1/completions", R"({"prompt":"x"})");
      ASSERT_EQ(reply.status, 200) << reply.body;
    }
  }
  EXPECT_TRUE(fixture.base.WaitEmpty());
  EXPECT_TRUE(fixture.WaitFor([&] { return fixture.server->open_connections() == 0; }));
}

}  // namespace
}  // namespace hadal::http
