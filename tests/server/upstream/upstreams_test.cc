// SPDX-License-Identifier: Apache-2.0
#include "server/upstream/upstreams.h"

#include "gtest/gtest.h"
#include "server/request/refusal.h"
#include "tests/server/upstream/scripted_server.h"
#include "tests/server/upstream/upstream_fixture.h"

namespace hadal::upstream {
namespace {

using hadal::testing::Asked;
using hadal::testing::Reader;
using hadal::testing::ScriptedServer;
using hadal::testing::UpstreamFixture;
using Connection = ScriptedServer::Connection;
using Progress = Passage::Progress;

TEST(UpstreamsTest, ARequestMakesAsManyHopsAsAreAllowed) {
  UpstreamFixture one({"http://127.0.0.1:9"});
  EXPECT_TRUE(one.upstreams->MayTake(0));
  EXPECT_FALSE(one.upstreams->MayTake(1)) << "it has been passed on to this server";
  UpstreamFixture two({"http://127.0.0.1:9"}, [](UpstreamOptions& options) { options.max_hops = 2; });
  EXPECT_TRUE(two.upstreams->MayTake(1));
  EXPECT_FALSE(two.upstreams->MayTake(2));
}

TEST(UpstreamsTest, KeysAreReadAgain) {
  ScriptedServer server([](Connection& connection) {
    std::string request;
    while (!(request = connection.ReadRequest()).empty()) {
      connection.Answer(200, request.find("sk-2") != std::string::npos ? "[2]" : "[1]");
    }
  });
  UpstreamFixture fixture({server.url() + ",key-file=" + UpstreamFixture::KeyFile("sk-1")});
  Reader before(fixture, Asked("{}"));
  EXPECT_EQ(before.ToEnd(), Progress::kComplete);
  EXPECT_EQ(before.text, "[1]");
  UpstreamFixture::KeyFile("sk-2");
  ASSERT_TRUE(fixture.upstreams->ReloadKeys().ok());
  Reader after(fixture, Asked("{}"));
  EXPECT_EQ(after.ToEnd(), Progress::kComplete);
  EXPECT_EQ(after.text, "[2]");
}

TEST(UpstreamsTest, AMissingKeyFileIsSaidAtOnce) {
  UpstreamOptions options;
  options.targets = {TargetOptions::Parse("http://h,key-file=/no/such/file").value()};
  const absl::Status status = Upstreams::Create(options, {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_NE(std::string(status.message()).find("--fallback-upstream h"), std::string::npos) << status;
}

TEST(UpstreamsTest, ADrainEndsWhatStillRuns) {
  ScriptedServer server([](Connection& connection) {
    connection.ReadRequest();
    connection.Send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
    connection.WaitClosed();
  });
  UpstreamFixture fixture({server.url()});
  Reader reader(fixture, Asked("{}"));
  ASSERT_EQ(reader.Until(Progress::kStreaming), Progress::kStreaming);
  fixture.upstreams->BeginDrain(absl::Hours(1));
  fixture.upstreams->BeginDrain(absl::Milliseconds(50));
  fixture.upstreams->BeginDrain(absl::Hours(1));
  EXPECT_EQ(reader.ToEnd(), Progress::kBroken);
  EXPECT_EQ(request::GetErrorDetail(reader.passage->status()).reason, request::Reason::kInsufficientSystemResource);
  EXPECT_TRUE(fixture.WaitFor([&] { return server.open() == 0; }));
}

TEST(UpstreamsTest, ManyPassagesBeginLeaveAndEndAtOnce) {
  ScriptedServer server([](Connection& connection) {
    while (!connection.ReadRequest().empty()) {
      connection.Send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
      for (int i = 0; i < 20; ++i) connection.Send("9\r\ndata: 1\n\n\r\n");
      connection.Send("0\r\n\r\n");
    }
  });
  UpstreamFixture fixture({server.url() + ",name=far,max-in-flight=1000"});
  std::vector<std::thread> threads;
  std::atomic<int> complete{0};
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < 50; ++i) {
        Reader reader(fixture, Asked("{}"));
        if ((i + thread) % 3 == 0) continue;  // leaves without having read
        if (reader.ToEnd() == Progress::kComplete && reader.text.size() == 20 * 9) ++complete;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(complete, 4 * 50 - 67);
  EXPECT_TRUE(
      fixture.WaitFor([&] { return fixture.Count("far", "ok") + fixture.Count("far", "cancelled") >= complete; }));
}

}  // namespace
}  // namespace hadal::upstream
