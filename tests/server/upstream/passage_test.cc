// SPDX-License-Identifier: Apache-2.0
#include "server/upstream/passage.h"

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/request/refusal.h"
#include "server/upstream/upstreams.h"
#include "tests/server/upstream/scripted_server.h"
#include "tests/server/upstream/upstream_fixture.h"

namespace hadal::upstream {
namespace {

using hadal::testing::Asked;
using hadal::testing::Reader;
using hadal::testing::ScriptedServer;
using hadal::testing::UpstreamFixture;
using request::Reason;
using ::testing::HasSubstr;
using ::testing::Not;
using Connection = ScriptedServer::Connection;
using Progress = Passage::Progress;

constexpr char kEvents[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

std::string Chunk(const std::string& text) { return absl::StrFormat("%x\r\n%s\r\n", text.size(), text); }

TEST(PassageTest, AnAnswerComesByteForByteAsItIsSent) {
  base::Notification go_on;
  ScriptedServer server([&](Connection& connection) {
    connection.ReadRequest();
    connection.Send(std::string(kEvents) + Chunk("data: {\"a\": 1}\n"));
    go_on.WaitFor(absl::Seconds(30));
    connection.Send(Chunk(std::string("\n: odd\r\n\0data", 13)) + "0\r\n\r\n");
  });
  UpstreamFixture fixture({server.url() + ",name=far"});
  Reader reader(fixture, Asked("{}"));
  ASSERT_EQ(reader.Until(Progress::kStreaming), Progress::kStreaming);
  EXPECT_EQ(reader.passage->head().status, 200);
  EXPECT_EQ(reader.passage->head().content_type, "text/event-stream");
  EXPECT_EQ(reader.passage->head().served_by, "far");
  EXPECT_EQ(reader.text, "data: {\"a\": 1}\n") << "before the rest is there";
  go_on.Notify();
  EXPECT_EQ(reader.ToEnd(), Progress::kComplete);
  EXPECT_EQ(reader.text, "data: {\"a\": 1}\n" + std::string("\n: odd\r\n\0data", 13));
  EXPECT_EQ(fixture.Count("far", "ok"), 1);
}

TEST(PassageTest, TheTargetGetsTheBodyTheAllowedFieldsAndItsOwnKey) {
  ScriptedServer server([](Connection& connection) {
    connection.ReadRequest();
    connection.Answer(200, "{}");
  });
  UpstreamFixture fixture({server.url() + ",key-file=" + UpstreamFixture::KeyFile("sk-ours")});
  PassedRequest asked = Asked(R"({"model":"m", "messages":[]})");
  asked.path = "/chat/completions";
  asked.fields = {{"x-request-id", "r1"}};
  asked.hop = 2;
  Reader reader(fixture, std::move(asked));
  ASSERT_EQ(reader.ToEnd(), Progress::kComplete);
  const std::string request = server.last_request();
  EXPECT_THAT(request, HasSubstr("POST /v1/chat/completions HTTP/1.1\r\n"));
  EXPECT_THAT(request, HasSubstr("\r\nx-request-id: r1\r\n"));
  EXPECT_THAT(request, HasSubstr("\r\nx-hadal-hop: 2\r\n"));
  EXPECT_THAT(request, HasSubstr("\r\nAuthorization: Bearer sk-ours\r\n"));
  EXPECT_THAT(request, HasSubstr("\r\nContent-Type: application/json\r\n"));
  EXPECT_THAT(request, Not(HasSubstr("Expect:")));
  EXPECT_THAT(request, Not(HasSubstr("deadline")));
  EXPECT_THAT(request, HasSubstr("\r\n\r\n{\"model\":\"m\", \"messages\":[]}"));
}

TEST(PassageTest, AnthropicsApisTakeTheKeyInAFieldOfTheirOwn) {
  ScriptedServer server([](Connection& connection) {
    connection.ReadRequest();
    connection.Answer(200, "{}");
  });
  UpstreamFixture fixture({server.url() + ",model=their-model,key-file=" + UpstreamFixture::KeyFile("sk-ours")});
  PassedRequest asked = Asked(R"({"model":"m","max_tokens":1})");
  asked.key_in_x_api_key = true;
  Reader reader(fixture, std::move(asked));
  ASSERT_EQ(reader.ToEnd(), Progress::kComplete);
  const std::string request = server.last_request();
  EXPECT_THAT(request, HasSubstr("\r\nx-api-key: sk-ours\r\n"));
  EXPECT_THAT(request, Not(HasSubstr("Authorization")));
  EXPECT_THAT(request, HasSubstr(R"({"model":"their-model","max_tokens":1})"));
}

TEST(PassageTest, AnyFailureBeforeTheFirstByteLeadsToTheNextTarget) {
  const std::vector<std::pair<const char*, ScriptedServer::Script>> failures = {
      {"error", [](Connection& c) { c.ReadRequest(), c.Answer(500, "{\"error\":{}}"); }},
      {"error", [](Connection& c) { c.ReadRequest(), c.Answer(401, "{\"error\":{}}"); }},
      {"busy", [](Connection& c) { c.ReadRequest(), c.Answer(429, "{}"); }},
      {"rejected", [](Connection& c) { c.ReadRequest(), c.Answer(404, "{}"); }},
      {"rejected", [](Connection& c) { c.ReadRequest(), c.Answer(302, "", "Location: http://127.0.0.1:9/\r\n"); }},
      {"malformed", [](Connection& c) { c.ReadRequest(), c.Send("SSH-2.0-OpenSSH_9.2\r\n\r\n"); }},
      {"malformed", [](Connection& c) { c.ReadRequest(), c.Answer(200, "<html>", "Content-Type: text/html\r\n"); }},
      {"malformed", [](Connection& c) { c.ReadRequest(), c.Answer(200, ""); }},
      {"broken", [](Connection& c) { c.ReadRequest(); }},
      {"broken", [](Connection& c) { c.ReadRequest(), c.Reset(); }},
      {"malformed", [](Connection& c) { c.ReadRequest(), c.Send("HTTP/1.1 200 OK\r\nContent-Ty"); }},
      {"broken", [](Connection& c) { c.ReadRequest(), c.Send(kEvents); }},
      {"malformed",
       [](Connection& c) {
         c.ReadRequest();
         c.Answer(200, std::string(1 << 20, 'x'), "Content-Type: text/plain\r\n");
       }},
  };
  for (const auto& [outcome, script] : failures) {
    ScriptedServer bad(script);
    ScriptedServer good([](Connection& connection) { connection.ReadRequest(), connection.Answer(200, "{\"ok\":1}"); });
    UpstreamFixture fixture({bad.url() + ",name=bad", good.url() + ",name=good"});
    Reader reader(fixture, Asked("{}"));
    EXPECT_EQ(reader.ToEnd(), Progress::kComplete) << outcome;
    EXPECT_EQ(reader.text, "{\"ok\":1}") << outcome;
    EXPECT_EQ(reader.passage->head().served_by, "good") << outcome;
    EXPECT_EQ(fixture.Count("bad", outcome), 1) << outcome;
  }
}

TEST(PassageTest, WithoutAnyAnswerItDeclines) {
  ScriptedServer bad([](Connection& connection) { connection.ReadRequest(), connection.Answer(503, "{}"); });
  const std::string closed = "http://127.0.0.1:" + std::to_string(ScriptedServer::ClosedPort());
  UpstreamFixture fixture({closed + ",name=closed", bad.url() + ",name=bad"});
  Reader reader(fixture, Asked("{}"));
  EXPECT_EQ(reader.ToEnd(), Progress::kDeclined);
  EXPECT_EQ(request::GetErrorDetail(reader.passage->status()).reason, Reason::kUpstreamFailed);
  EXPECT_EQ(reader.text, "");
  EXPECT_EQ(fixture.Count("closed", "unreachable"), 1);
  EXPECT_EQ(fixture.Count("bad", "busy"), 1);
  EXPECT_TRUE(fixture.upstreams->MayTake(0)) << "the closed one";
}

TEST(PassageTest, ATargetThatHangsIsGivenUpAtTheTimeForTheFirstByte) {
  ScriptedServer silent([](Connection& connection) { connection.ReadRequest(), connection.WaitClosed(); });
  ScriptedServer dribbles([](Connection& connection) {
    connection.ReadRequest();
    connection.Send("HTTP/1.1 200 OK\r\nX-Endless: ");
    while (connection.Send("x")) absl::SleepFor(absl::Milliseconds(5));
  });
  ScriptedServer good([](Connection& connection) { connection.ReadRequest(), connection.Answer(200, "{}"); });
  UpstreamFixture fixture({silent.url() + ",name=silent", dribbles.url() + ",name=dribbles", good.url()},
                          [](UpstreamOptions& options) { options.first_byte_timeout = absl::Seconds(1.5); });
  Reader reader(fixture, Asked("{}"));
  EXPECT_EQ(reader.ToEnd(), Progress::kComplete) << "the good one has the same time";
  EXPECT_EQ(fixture.Count("silent", "timeout"), 1);
  EXPECT_EQ(fixture.Count("dribbles", "timeout"), 1);
  EXPECT_TRUE(fixture.WaitFor([&] { return silent.open() == 0 && dribbles.open() == 0; }));
}

TEST(PassageTest, AnAnswerThatBreaksOffIsSaidToBeBroken) {
  const ScriptedServer::Script scripts[] = {
      [](Connection& c) { c.ReadRequest(), c.Send(std::string(kEvents) + Chunk("data: 1\n\n")); },
      [](Connection& c) {
        c.ReadRequest();
        c.Send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{");
      },
      [](Connection& c) { c.ReadRequest(), c.Send(std::string(kEvents) + Chunk("data: 1\n\n") + "zz\r\n"); },
  };
  for (const ScriptedServer::Script& script : scripts) {
    ScriptedServer server(script);
    UpstreamFixture fixture({server.url() + ",name=far"});
    Reader reader(fixture, Asked("{}"));
    EXPECT_EQ(reader.ToEnd(), Progress::kBroken);
    EXPECT_EQ(request::GetErrorDetail(reader.passage->status()).reason, Reason::kUpstreamFailed);
    EXPECT_EQ(fixture.Count("far", "broken"), 1);
    EXPECT_EQ(server.accepted(), 1) << "what has begun is not begun again elsewhere";
  }
}

TEST(PassageTest, AnAnswerThatStallsBreaksOff) {
  ScriptedServer server([](Connection& connection) {
    connection.ReadRequest();
    connection.Send(std::string(kEvents) + Chunk("data: 1\n\n"));
    connection.WaitClosed();
  });
  UpstreamFixture fixture({server.url() + ",name=far"},
                          [](UpstreamOptions& options) { options.stall_timeout = absl::Milliseconds(500); });
  Reader reader(fixture, Asked("{}"));
  EXPECT_EQ(reader.ToEnd(), Progress::kBroken);
  EXPECT_EQ(fixture.Count("far", "timeout"), 1);
  EXPECT_TRUE(fixture.WaitFor([&] { return server.open() == 0; }));
}

TEST(PassageTest, TheDeadlineIsPassedOnAndKept) {
  ScriptedServer server([](Connection& connection) {
    connection.ReadRequest();
    connection.Send(kEvents);
    while (connection.Send(Chunk(": slow\n\n"))) absl::SleepFor(absl::Milliseconds(5));
  });
  UpstreamFixture fixture({server.url() + ",name=far"});
  PassedRequest asked = Asked("{}");
  asked.deadline = base::Clock::Real()->Now() + absl::Seconds(2);  // in which its answer begins
  Reader reader(fixture, std::move(asked));
  EXPECT_EQ(reader.ToEnd(), Progress::kBroken);
  EXPECT_EQ(request::GetErrorDetail(reader.passage->status()).reason, Reason::kDeadlineExpired);
  EXPECT_EQ(fixture.Count("far", "expired"), 1);
  const std::string request = server.last_request();
  const size_t at = request.find("x-hadal-deadline-ms: ");
  ASSERT_NE(at, std::string::npos) << request;
  const int left = std::stoi(request.substr(at + 21));
  EXPECT_GT(left, 0);
  EXPECT_LE(left, 2000);
}

TEST(PassageTest, AReaderThatIsSlowPausesTheTransfer) {
  constexpr size_t kPieces = 4096;
  const std::string piece(4096, 'x');
  std::atomic<size_t> sent{0};
  ScriptedServer server([&](Connection& connection) {
    connection.ReadRequest();
    connection.Send(kEvents);
    for (size_t i = 0; i < kPieces && connection.Send(Chunk(piece)); ++i) ++sent;
    connection.Send("0\r\n\r\n");
  });
  UpstreamFixture fixture({server.url() + ",name=far"},
                          [](UpstreamOptions& options) { options.stall_timeout = absl::Milliseconds(300); });
  Reader reader(fixture, Asked("{}"));
  // Nothing is read: what has been sent comes to rest.
  size_t seen = 0;
  do {
    seen = sent;
    absl::SleepFor(absl::Milliseconds(400));
  } while (seen != sent || seen == 0);
  EXPECT_LT(sent, kPieces);
  std::string first;
  EXPECT_EQ(reader.passage->Read(&first), Progress::kStreaming) << "a pause is no stall";
  EXPECT_LE(first.size(), size_t{80} << 10);
  reader.text = first;
  EXPECT_EQ(reader.ToEnd(), Progress::kComplete);
  EXPECT_EQ(reader.text.size(), kPieces * piece.size());
}

TEST(PassageTest, WhoLeavesEndsTheTransferAtOnce) {
  ScriptedServer server([](Connection& connection) {
    connection.ReadRequest();
    connection.Send(std::string(kEvents) + Chunk("data: 1\n\n"));
    connection.WaitClosed();
  });
  UpstreamFixture fixture({server.url() + ",name=far,max-in-flight=1"});
  for (int i = 0; i < 3; ++i) {
    Reader reader(fixture, Asked("{}"));
    ASSERT_EQ(reader.Until(Progress::kStreaming), Progress::kStreaming);
    EXPECT_FALSE(fixture.upstreams->MayTake(0));
    reader.passage.reset();
    EXPECT_TRUE(fixture.WaitFor([&] { return server.open() == 0; }));
    EXPECT_TRUE(fixture.WaitFor([&] { return fixture.upstreams->MayTake(0); }));
  }
  EXPECT_EQ(fixture.Count("far", "cancelled"), 3);
}

TEST(PassageTest, ConnectionsAreUsedAgainAndReplacedWhenTheTargetComesBack) {
  ScriptedServer server([](Connection& connection) {
    for (int i = 0; i < 3 && !connection.ReadRequest().empty(); ++i) connection.Answer(200, "{}");
  });
  UpstreamFixture fixture({server.url() + ",name=far"});
  for (int i = 0; i < 9; ++i) {
    Reader reader(fixture, Asked("{}"));
    EXPECT_EQ(reader.ToEnd(), Progress::kComplete) << i;
  }
  EXPECT_EQ(fixture.Count("far", "ok"), 9);
  EXPECT_LT(server.accepted(), 9);
}

}  // namespace
}  // namespace hadal::upstream
