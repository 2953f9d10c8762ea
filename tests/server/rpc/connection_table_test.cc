// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/connection_table.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "tests/support/listening_socket.h"
#include "tests/support/metric_value.h"

namespace hadal::rpc {
namespace {

using ::hadal::testing::ListeningSocket;
using ::hadal::testing::MetricValue;

// A TCP connection over the loop-back.
class SocketPair {
 public:
  SocketPair() {
    const ListeningSocket listener;
    client = ::socket(AF_INET, SOCK_STREAM, 0);
    const sockaddr_in address = listener.address();
    EXPECT_EQ(::connect(client, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    server = listener.Accept();
  }
  ~SocketPair() {
    CloseServer();
    ::close(client);
  }
  void CloseServer() {
    if (server >= 0) ::close(server);
    server = -1;
  }
  // What arrives at the client until the end or a pause.
  std::string Received() const {
    std::string all;
    pollfd event{client, POLLIN, 0};
    char buffer[1024];
    while (::poll(&event, 1, 1000) > 0) {
      const ssize_t size = ::recv(client, buffer, sizeof(buffer), 0);
      if (size <= 0) break;
      all.append(buffer, static_cast<size_t>(size));
    }
    return all;
  }

  int client = -1;
  int server = -1;
};

base::Peer PeerOf(int fd) { return {.network = base::PeerNetwork(fd)}; }

std::shared_ptr<Connection> Find(const ConnectionTable& table, const SocketPair& pair) {
  return table.Find(absl::StrCat("fd:", pair.server));
}

TEST(ConnectionTableTest, RefusesMoreThanItsLimitUntilOneIsClosed) {
  base::MetricRegistry registry;
  GrpcMetrics metrics(&registry);
  ConnectionTable table(2, &metrics);
  SocketPair a, b, c;
  EXPECT_TRUE(table.Add(a.server, PeerOf(a.server)));
  EXPECT_TRUE(table.Add(b.server, PeerOf(b.server)));
  EXPECT_TRUE(Find(table, a)->BeginCall(10));
  EXPECT_TRUE(Find(table, b)->BeginCall(10));
  EXPECT_FALSE(table.Add(c.server, PeerOf(c.server)));
  EXPECT_EQ(MetricValue(registry, "hadal_grpc_connections"), 2);
  EXPECT_EQ(MetricValue(registry, "hadal_grpc_refusals_total{limit=\"connections\"}"), 1);
  a.CloseServer();
  EXPECT_TRUE(table.Add(c.server, PeerOf(c.server)));
  EXPECT_EQ(MetricValue(registry, "hadal_grpc_connections"), 2);
}

TEST(ConnectionTableTest, TheOneThatIsIdleForTheLongestMakesRoom) {
  base::MetricRegistry registry;
  GrpcMetrics metrics(&registry);
  ConnectionTable table(3, &metrics);
  SocketPair busy, older, newer, next;
  for (const SocketPair* pair : {&busy, &older, &newer}) ASSERT_TRUE(table.Add(pair->server, PeerOf(pair->server)));
  for (const SocketPair* pair : {&busy, &newer, &older}) ASSERT_TRUE(Find(table, *pair)->BeginCall(10));
  Find(table, older)->EndCall();
  Find(table, newer)->EndCall();
  EXPECT_TRUE(table.Add(next.server, PeerOf(next.server)));
  EXPECT_EQ(older.Received(), "");  // closed
  EXPECT_EQ(Find(table, older), nullptr);
  EXPECT_NE(Find(table, newer), nullptr);
  EXPECT_NE(Find(table, busy), nullptr);
  EXPECT_EQ(MetricValue(registry, "hadal_grpc_connections"), 3);
  EXPECT_EQ(MetricValue(registry, "hadal_grpc_refusals_total{limit=\"connections\"}"), 0);
}

TEST(ConnectionTableTest, AReusedDescriptorIsAnotherConnection) {
  GrpcMetrics metrics(nullptr);
  ConnectionTable table(2, &metrics);
  SocketPair a, b;
  ASSERT_TRUE(table.Add(a.server, PeerOf(a.server)));
  const std::string peer = absl::StrCat("fd:", a.server);
  const std::shared_ptr<Connection> first = table.Find(peer);
  ASSERT_NE(first, nullptr);
  EXPECT_TRUE(first->open());
  EXPECT_EQ(first->peer().network, "127.0.0.1");
  ASSERT_EQ(::dup2(b.server, a.server), a.server);  // closes a's socket; the number stands for b's now
  EXPECT_FALSE(first->open());
  first->Disconnect();  // nobody else's connection
  EXPECT_EQ(::send(b.server, "x", 1, MSG_NOSIGNAL), 1);
  table.Sweep();
  EXPECT_EQ(table.Find(peer), nullptr);
  ASSERT_TRUE(table.Add(a.server, PeerOf(a.server)));
  EXPECT_NE(table.Find(peer), first);
}

TEST(ConnectionTableTest, CountsCallsAndCutsOffTheirConnection) {
  SocketPair pair;
  Connection connection(pair.server, PeerOf(pair.server));
  EXPECT_TRUE(connection.BeginCall(2));
  EXPECT_TRUE(connection.BeginCall(2));
  EXPECT_FALSE(connection.BeginCall(2));
  connection.EndCall();
  connection.EndCall();
  EXPECT_TRUE(connection.BeginCall(2));
  EXPECT_TRUE(connection.Disconnect());
  EXPECT_FALSE(connection.Disconnect());
  EXPECT_EQ(pair.Received(), "");  // closed
}

TEST(ConnectionTableTest, EndsAllConnectionsThatAreOpen) {
  GrpcMetrics metrics(nullptr);
  ConnectionTable table(8, &metrics);
  SocketPair busy, closed;
  ASSERT_TRUE(table.Add(busy.server, PeerOf(busy.server)));
  ASSERT_TRUE(table.Add(closed.server, PeerOf(closed.server)));
  const auto connection = Find(table, busy);
  ASSERT_TRUE(connection->BeginCall(1));
  closed.CloseServer();
  table.DisconnectAll();
  EXPECT_TRUE(connection->disconnected());
  EXPECT_EQ(busy.Received(), "");
}

TEST(ConnectionTableTest, ARefusedClientIsToldWhy) {
  SocketPair pair;
  EXPECT_EQ(::send(pair.client, "PRI * HTTP/2.0", 14, MSG_NOSIGNAL), 14);
  RefuseConnection(std::exchange(pair.server, -1), WhyNot::kTooMany);
  const std::string received = pair.Received();
  ASSERT_GE(received.size(), 9u + 17u);
  EXPECT_EQ(received[3], 4);        // SETTINGS
  EXPECT_EQ(received[9 + 3], 7);    // GOAWAY
  EXPECT_EQ(received[9 + 16], 11);  // ENHANCE_YOUR_CALM
  EXPECT_EQ(received.substr(9 + 17), "too many connections");
}

TEST(ConnectionTableTest, DisconnectsIdleOnesAndSaysWhetherOthersAreLeft) {
  base::MetricRegistry registry;
  GrpcMetrics metrics(&registry);
  ConnectionTable table(3, &metrics);
  SocketPair idle, busy;
  EXPECT_FALSE(table.DisconnectIdle());
  ASSERT_TRUE(table.Add(idle.server, PeerOf(idle.server)));
  ASSERT_TRUE(table.Add(busy.server, PeerOf(busy.server)));
  ASSERT_TRUE(Find(table, busy)->BeginCall(10));
  EXPECT_TRUE(table.DisconnectIdle());
  EXPECT_TRUE(Find(table, idle)->disconnected());
  EXPECT_FALSE(Find(table, busy)->disconnected());
  Find(table, busy)->EndCall();
  EXPECT_FALSE(table.DisconnectIdle());
  EXPECT_TRUE(Find(table, busy)->disconnected());
}

TEST(ConnectionTableTest, ABusyOneThatIsClosedIsNotLeft) {
  base::MetricRegistry registry;
  GrpcMetrics metrics(&registry);
  ConnectionTable table(1, &metrics);
  SocketPair gone;
  ASSERT_TRUE(table.Add(gone.server, PeerOf(gone.server)));
  ASSERT_TRUE(Find(table, gone)->BeginCall(10));
  gone.CloseServer();
  EXPECT_FALSE(table.DisconnectIdle());
}

TEST(ConnectionTableTest, TakesNoneAfterItIsClosedAndSaysThatTheServerEnds) {
  base::MetricRegistry registry;
  GrpcMetrics metrics(&registry);
  ConnectionTable table(3, &metrics);
  SocketPair late;
  EXPECT_FALSE(table.closed());
  table.Close();
  EXPECT_TRUE(table.closed());
  EXPECT_FALSE(table.Add(late.server, PeerOf(late.server)));
  EXPECT_EQ(MetricValue(registry, "hadal_grpc_refusals_total{limit=\"connections\"}"), 0) << "no limit was reached";
  RefuseConnection(late.server, WhyNot::kEnding);
  late.server = -1;
  const std::string said = late.Received();
  EXPECT_EQ(said.substr(said.size() - 24), std::string("\0\0\0\0the server is ending", 24));  // NO_ERROR
}

}  // namespace
}  // namespace hadal::rpc
