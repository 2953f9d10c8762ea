// SPDX-License-Identifier: Apache-2.0
#include "server/redis/client.h"

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/redis/redis_options.h"
#include "tests/support/fake_redis.h"
#include "tests/support/redis_server.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_certificates.h"

namespace hadal::redis {
namespace {

using ::testing::HasSubstr;
using testing::RedisServer;
using testing::TestAuthority;
using testing::TestTlsFiles;

constexpr absl::Duration kPatient = absl::Seconds(30);

class ClientTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!RedisServer::Installed()) GTEST_SKIP() << "needs redis-server (scripts/bootstrap --test)";
  }
  const TestTlsFiles files_;
};

TEST_F(ClientTest, ReadsEveryKindOfReplyAndManyAtOnce) {
  RedisServer server;
  Client client(server.endpoint(), kPatient);
  const auto replies = client.RunAll("k", {{"SET", "k", std::string("a\0b", 3)},
                                           {"GET", "k"},
                                           {"GET", "none"},
                                           {"INCR", "n"},
                                           {"NONSENSE"},
                                           {"EVAL", "return {1, {'x'}, false}", "0"}});
  ASSERT_OK(replies);
  ASSERT_EQ(replies->size(), 6u);
  EXPECT_EQ((*replies)[0].text, "OK");
  EXPECT_EQ((*replies)[1].text, std::string("a\0b", 3));
  EXPECT_TRUE((*replies)[2].nil());
  EXPECT_EQ((*replies)[3].integer, 1);
  EXPECT_TRUE((*replies)[4].error());
  ASSERT_EQ((*replies)[5].items.size(), 3u);
  EXPECT_EQ((*replies)[5].items[1].items[0].text, "x");
  EXPECT_EQ(client.opened(), 1);
}

TEST_F(ClientTest, AHangIsALateOneAndAKillAnAbsentOneAndBothEnd) {
  RedisServer server;
  Client client(server.endpoint(), absl::Seconds(1));
  ASSERT_OK(client.Run("k", {"SET", "k", "v"}));
  server.Pause();
  EXPECT_TRUE(absl::IsDeadlineExceeded(client.Run("k", {"GET", "k"}).status()));
  server.Continue();
  EXPECT_EQ(client.Run("k", {"GET", "k"})->text, "v") << "not the reply that came too late";
  server.Kill();
  EXPECT_TRUE(absl::IsUnavailable(client.Run("k", {"GET", "k"}).status()));
  EXPECT_FALSE(client.connected("k"));
  server.Start();
  EXPECT_EQ(client.Run("k", {"GET", "k"})->text, "v") << "the append-only file has it";
}

TEST_F(ClientTest, SpeaksTlsAndChecksWhoAnswers) {
  const TestAuthority authority, other("somebody else");
  const testing::TestCertificate certificate = authority.Sign("redis");
  const RedisServer server =
      RedisServer::Tls({"--tls-cert-file", files_.Write("cert.pem", certificate.certificate), "--tls-key-file",
                        files_.Write("key.pem", certificate.key), "--tls-auth-clients", "no"});
  const std::string url = absl::StrCat("rediss://localhost:", server.port());
  const auto endpoint = [&](const std::string& name, const std::string& pem, const std::string& where) {
    return RedisOptions{.ca_file = files_.Write(name, pem)}.EndpointOf(where, "batch", "batch-store");
  };
  Client client(endpoint("ca.pem", authority.certificate(), url).value(), kPatient);
  const std::string large(3'000'000, 'x');
  ASSERT_OK(client.Run("k", {"SET", "k", large}));
  EXPECT_EQ(client.Run("k", {"GET", "k"})->text, large);
  EXPECT_EQ(client.opened(), 1);

  Client wrong(endpoint("other.pem", other.certificate(), url).value(), kPatient);
  EXPECT_THAT(std::string(wrong.Run("k", {"PING"}).status().message()), HasSubstr("certificate is not believed"));
  // Signed by whom we trust, but for another host.
  Client elsewhere(
      endpoint("ca.pem", authority.certificate(), absl::StrCat("rediss://127.0.0.2:", server.port())).value(),
      kPatient);
  EXPECT_TRUE(absl::IsUnavailable(elsewhere.Run("k", {"PING"}).status()));
  Client by_system(RedisOptions().EndpointOf(url, "batch", "batch-store").value(), kPatient);
  EXPECT_THAT(std::string(by_system.Run("k", {"PING"}).status().message()), HasSubstr("not believed"));
  Client plain({.url = {.host = "localhost", .port = server.port()}}, absl::Seconds(1));
  EXPECT_FALSE(plain.Run("k", {"PING"}).ok());
}

TEST_F(ClientTest, LogsInAsTheUserOfItsFile) {
  RedisServer server({"--user", "default", "off", "--user", "me", "on", ">open sesame", "~*", "+@all"});
  const auto with = [&](const std::string& text) {
    const RedisOptions options = {.password_file = files_.Write("login", text)};
    return Client(options.EndpointOf(server.url(), "batch", "batch-store").value(), kPatient)
        .Run("k", {"ACL", "WHOAMI"});
  };
  EXPECT_EQ(with("open sesame\nme\n")->text, "me");
  EXPECT_EQ(with("open sesame\r\nme\r\n")->text, "me");
  EXPECT_THAT(std::string(with("wrong\nme\n").status().message()), HasSubstr("WRONGPASS"));
  EXPECT_TRUE(absl::IsUnavailable(with("open sesame\n").status())) << "the default user is off";
}

TEST(RedisClientTest, ASlotOnItsWayIsAwayForThoseWhoRelyOnSeveralKeys) {
  // The first key is still here, the second one is not.
  testing::FakeRedis redis([](const std::vector<std::string>& words) -> std::string {
    return words[1] == "{a}1" ? testing::Bulk("here") : "-ASK 7 127.0.0.1:1\r\n";
  });
  Client client(redis.endpoint(), absl::Seconds(20), Client::MovingSlots::kUnavailable);
  EXPECT_TRUE(absl::IsUnavailable(client.RunAll("{a}", {{"GET", "{a}1"}, {"GET", "{a}2"}}).status()));
  EXPECT_EQ(client.Run("{a}", {"GET", "{a}1"})->text, "here");
  EXPECT_EQ(redis.connections(), 1) << "it is no failure of the connection";
}

// A range of CLUSTER SLOTS of all slots with these nodes, the master first.
std::string SlotsOf(const std::vector<std::pair<std::string, int>>& nodes) {
  std::string text = absl::StrCat("*1\r\n*", 2 + nodes.size(), "\r\n:0\r\n:16383\r\n");
  for (const auto& [host, port] : nodes) {
    absl::StrAppend(&text, "*4\r\n", testing::Bulk(host), ":", port, "\r\n", testing::Bulk("id"), "*0\r\n");
  }
  return text;
}

TEST(RedisClientTest, FindsTheReplicaOfAMasterThatHasNeverRedirected) {
  testing::FakeRedis replica([](const std::vector<std::string>&) { return testing::Bulk("the replica"); });
  std::unique_ptr<testing::FakeRedis> master;
  master =
      std::make_unique<testing::FakeRedis>([](const std::vector<std::string>&) { return testing::Bulk("the master"); },
                                           // A node that does not know its own name gives none.
                                           [&](const std::vector<std::string>&) {
                                             return SlotsOf({{"", master->port()}, {"127.0.0.1", replica.port()}});
                                           });
  Client client(master->endpoint(), absl::Seconds(20));
  EXPECT_EQ(client.Run("k", {"GET", "k"})->text, "the master");
  master = nullptr;
  EXPECT_TRUE(absl::IsUnavailable(client.Run("k", {"GET", "k"}).status())) << "this is how it is noticed";
  EXPECT_EQ(client.Run("k", {"GET", "k"})->text, "the replica");
}

TEST(RedisClientTest, LeavesANodeThatHasLostItsCluster) {
  testing::FakeRedis other([](const std::vector<std::string>&) { return testing::Bulk("here"); });
  testing::FakeRedis alone([](const std::vector<std::string>&) { return "-CLUSTERDOWN The cluster is down\r\n"; },
                           [&](const std::vector<std::string>&) {
                             return SlotsOf({{"127.0.0.1", 1}, {"127.0.0.1", other.port()}});
                           });
  Client client(alone.endpoint(), absl::Seconds(20));
  EXPECT_TRUE(client.Run("k", {"GET", "k"})->error());
  EXPECT_TRUE(absl::IsUnavailable(client.Run("k", {"GET", "k"}).status())) << "nobody is at port 1";
  EXPECT_EQ(client.Run("k", {"GET", "k"})->text, "here");
}

TEST(RedisClientTest, ForgetsNodesThatTheClusterNoLongerNames) {
  // Each connection names another set of nodes that are not there: only those of the last one are asked.
  std::atomic<int> named{1};
  testing::FakeRedis redis([](const std::vector<std::string>&) { return testing::Bulk("here"); },
                           [&](const std::vector<std::string>&) {
                             std::vector<std::pair<std::string, int>> nodes;
                             for (int i = 0; i < 20; ++i) nodes.emplace_back(absl::StrCat("127.0.1.", named++), 1);
                             return SlotsOf(nodes);
                           });
  Client client(redis.endpoint(), absl::Seconds(20));
  EXPECT_OK(client.Run("k", {"GET", "k"}));
  EXPECT_EQ(client.nodes_known(), 21u);
  for (int i = 0; i < 5; ++i) {
    redis.Hangup();
    int failures = 0;
    while (!client.Run("k", {"GET", "k"}).ok()) ASSERT_LE(++failures, 21) << "it asks all of them, then the URL's";
    EXPECT_EQ(client.nodes_known(), 21u);
  }
}

TEST(RedisOptionsTest, SaysWhichFlagIsWrong) {
  const TestTlsFiles files;
  const auto refused = [](const RedisOptions& options, const std::string& url) {
    return std::string(options.EndpointOf(url, "batch", "batch-store").status().message());
  };
  EXPECT_THAT(refused({}, "redis://:secret@h:0"), HasSubstr("--batch-store: the Redis URL has a port outside"));
  EXPECT_THAT(refused({.password_file = "/missing"}, "redis://h"), HasSubstr("--batch-redis-password-file: /missing"));
  EXPECT_THAT(refused({.password_file = files.Write("empty", "\n")}, "redis://h"), HasSubstr("is empty"));
  EXPECT_THAT(refused({.ca_file = "/missing"}, "rediss://h"), HasSubstr("--batch-redis-ca: /missing"));
  EXPECT_THAT(refused({.ca_file = files.Write("no.pem", "text")}, "rediss://h"),
              HasSubstr("no certificate in PEM form"));
  EXPECT_THAT(refused({.ca_file = files.Write("a.pem", "text")}, "redis://h"), HasSubstr("is no rediss://"));
}

}  // namespace
}  // namespace hadal::redis
