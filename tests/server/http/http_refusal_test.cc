// SPDX-License-Identifier: Apache-2.0
// Requests that are refused for capacity or size, and how early.
#include <memory>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"
#include "tests/server/http/http_fixture.h"

namespace hadal::http {
namespace {

using hadal::testing::ExpectError;
using hadal::testing::FullHttpFixture;
using hadal::testing::HttpFixture;
using hadal::testing::HttpReply;
using hadal::testing::kAsk;
using hadal::testing::kChat;
using hadal::testing::RawHttpClient;
using hadal::testing::ServiceFixture;

TEST(HttpRefusalTest, QueueFullIsRefusedBeforeTheBodyIsRead) {
  FullHttpFixture fixture;
  RawHttpClient client(fixture.port());
  client.Send("POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\n");  // and no body
  const HttpReply reply = client.Read();
  ExpectError(reply, 503, "CONNECTION_QUEUE_FULL");
  EXPECT_EQ(reply.Header("x-should-retry"), "true");
  EXPECT_GE(std::stoi(reply.Header("retry-after")), 1);
  EXPECT_LE(std::stoi(reply.Header("retry-after")), 30);
  EXPECT_GE(std::stoi(reply.Header("retry-after-ms")), 1000);
  EXPECT_EQ(reply.Header("x-hadal-promise"), "none") << "nothing has run yet";
  EXPECT_EQ(reply.Header("x-hadal-estimated-wait-ms"), "");
  EXPECT_NE(reply.body.find("服务器繁忙"), std::string::npos);
  EXPECT_EQ(reply.Header("connection"), "");  // the body is small: the connection is kept
  client.Send(std::string(100000, 'x'));
  EXPECT_EQ(client.Do("GET", "/v1/models").status, 200);

  // A large announced body ends the connection, but the answer arrives although the body is being sent.
  RawHttpClient large(fixture.port());
  large.Send("POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Length: 8000000\r\n\r\n");
  large.Send(std::string(4000000, 'x'));
  const HttpReply closing = large.Read();
  ExpectError(closing, 503, "CONNECTION_QUEUE_FULL");
  EXPECT_EQ(closing.Header("connection"), "close");
}

TEST(HttpRefusalTest, OverloadStatusCanBe429) {
  HttpFixture::Options options;
  options.http.overload_http_status = 429;
  FullHttpFixture fixture(options);
  const HttpReply reply = fixture.Do("POST", kChat, kAsk);
  ExpectError(reply, 429, "CONNECTION_QUEUE_FULL");
  EXPECT_FALSE(reply.Header("retry-after").empty());
}

TEST(HttpRefusalTest, LoadingAndDrainingStay503) {
  HttpFixture::Options options;
  options.service.ready = false;
  options.http.overload_http_status = 429;
  HttpFixture loading(ServiceFixture::Says("x"), options);
  ExpectError(loading.Do("POST", kChat, kAsk), 503, "MODEL_LOADING");
  EXPECT_EQ(loading.Do("GET", "/health/live").status, 200);
  EXPECT_EQ(loading.Do("GET", "/health/ready").status, 503);
  EXPECT_EQ(loading.Do("GET", "/health").status, 503);
  const HttpReply startup = loading.Do("GET", "/health/startup");
  EXPECT_EQ(startup.status, 503);
  EXPECT_EQ(HttpFixture::Json(startup)["stage"], "loading");
  EXPECT_EQ(HttpFixture::Json(startup)["progress"], 0.5);

  HttpFixture draining(ServiceFixture::Says("x"));
  RawHttpClient idle(draining.port());
  ASSERT_EQ(idle.Do("GET", "/v1/models").status, 200);
  draining.base.admission->BeginDrain();
  draining.server->BeginDrain();
  EXPECT_TRUE(idle.WaitClosed());
  const HttpReply refused = draining.Do("POST", kChat, kAsk);
  ExpectError(refused, 503, "DRAINING");
  EXPECT_EQ(refused.Header("connection"), "close");
  EXPECT_TRUE(draining.server->WaitIdle(absl::Minutes(1)));
}

TEST(HttpRefusalTest, AnAnswerThatADrainOvertakesSaysThatItIsTheConnectionsLast) {
  for (const std::string_view stream : {"false", "true"}) {
    HttpFixture draining(ServiceFixture::Says("</think>42"));
    draining.base.engine->Pause(true);
    RawHttpClient client(draining.port());
    const std::string body =
        R"({"messages":[{"role":"user","content":"17 + 25"}],"stream":)" + std::string(stream) + "}";
    client.Send("POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Length: " + std::to_string(body.size()) +
                "\r\n\r\n" + body);
    ASSERT_TRUE(draining.WaitFor([&] { return draining.base.admission->GetLoad().waiting == 1; }));
    draining.server->BeginDrain();
    draining.base.engine->Pause(false);
    const HttpReply reply = client.Read();
    EXPECT_EQ(reply.status, 200);
    EXPECT_EQ(reply.Header("connection"), "close") << "stream " << stream;
    EXPECT_TRUE(client.WaitClosed());
  }
}

TEST(HttpRefusalTest, ADrainAnswersEveryRequestThatHasArrived) {
  constexpr std::string_view kGet = "GET /v1/models HTTP/1.1\r\nHost: t\r\n\r\n";
  for (int round = 0; round < 20; ++round) {
    HttpFixture draining(ServiceFixture::Says("x"));
    std::vector<std::unique_ptr<RawHttpClient>> kept, fresh;
    for (int i = 0; i < 8; ++i) {
      kept.push_back(std::make_unique<RawHttpClient>(draining.port()));
      ASSERT_EQ(kept.back()->Do("GET", "/v1/models").status, 200);
      fresh.push_back(std::make_unique<RawHttpClient>(draining.port()));
    }
    for (int i = 0; i < 8; ++i) {
      kept[i]->Send(kGet);
      fresh[i]->Send(kGet);
    }
    draining.server->BeginDrain();
    for (int i = 0; i < 8; ++i) {
      const HttpReply first = fresh[i]->Read(), later = kept[i]->Read();
      EXPECT_EQ(first.status, 200) << "of a new connection, round " << round;
      EXPECT_EQ(later.status, 200) << "of a kept connection, round " << round;
    }
  }
}

TEST(HttpRefusalTest, BodyTooLargeIsRefusedBeforeItIsReadWhole) {
  HttpFixture::Options options;
  options.http.front.max_body_bytes = 1000;
  HttpFixture fixture(ServiceFixture::Says("</think>x"), options);
  RawHttpClient announced(fixture.port());
  announced.Send("POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Length: 1001\r\n\r\n");
  ExpectError(announced.Read(), 413, "BODY_TOO_LARGE");

  RawHttpClient chunked(fixture.port());
  chunked.Send("POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (int i = 0; i < 3; ++i) chunked.Send("190\r\n" + std::string(400, ' ') + "\r\n");  // no end in sight
  ExpectError(chunked.Read(), 413, "BODY_TOO_LARGE");
  EXPECT_TRUE(fixture.base.WaitEmpty());

  RawHttpClient good(fixture.port());
  good.Send("POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (const char c : kAsk) good.Send(std::string("1\r\n") + c + "\r\n");
  good.Send("0\r\n\r\n");
  EXPECT_EQ(good.Read().status, 200);
}

TEST(HttpRefusalTest, ContinueIsSentAfterAdmissionOnly) {
  HttpFixture::Options options;
  options.service.max_queue_requests = 1;
  HttpFixture fixture(ServiceFixture::Says("</think>42"), options);
  const std::string head = "POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: " +
                           std::to_string(kAsk.size()) + "\r\n\r\n";
  RawHttpClient client(fixture.port());
  client.Send(head);
  ASSERT_TRUE(client.WaitFor("HTTP/1.1 100 Continue\r\n\r\n"));
  client.Send(kAsk);
  EXPECT_EQ(client.Read().status, 200);

  fixture.base.engine->Pause(true);
  RawHttpClient waiting(fixture.port());
  waiting.Send(RawHttpClient::Request("POST", kChat, kAsk));
  ASSERT_TRUE(fixture.WaitFor([&] { return fixture.base.admission->QueuedRequests(0) == 1; }));
  RawHttpClient refused(fixture.port());
  refused.Send(head);
  const HttpReply reply = refused.Read();
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(reply.Header("connection"), "close");
}

TEST(HttpRefusalTest, AFullWorkerQueueRefuses) {
  HttpFixture::Options options;
  options.service.worker_threads = 1;
  options.service.max_worker_jobs = 1;
  HttpFixture fixture(ServiceFixture::Says("</think>x"), options);
  std::atomic<bool> release{false}, begun{false};
  ASSERT_TRUE(fixture.base.service->workers().TryPost([&] {
    begun.store(true);
    while (!release.load()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }));
  ASSERT_TRUE(fixture.WaitFor([&] { return begun.load(); }));
  ASSERT_TRUE(fixture.base.service->workers().TryPost([] {}));
  ExpectError(fixture.Do("POST", kChat, kAsk), 503, "WORKER_QUEUE_FULL");
  ExpectError(fixture.Do("POST", "/tokenize", R"({"prompt":"x"})"), 503, "WORKER_QUEUE_FULL");
  release.store(true);
  EXPECT_TRUE(fixture.base.WaitEmpty());
}

}  // namespace
}  // namespace hadal::http
