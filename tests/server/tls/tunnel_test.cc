// SPDX-License-Identifier: Apache-2.0
// Tunnels through the terminator: order, back-pressure, and how each side learns of the other's end.
#include "server/tls/tunnel.h"

#include <fcntl.h>

#include <string>
#include <thread>

#include "gtest/gtest.h"
#include "tests/server/tls/tls_fixture.h"

namespace hadal::tls {
namespace {

using ::hadal::testing::PlainEnd;
using ::hadal::testing::TlsClient;
using ::hadal::testing::TlsFixture;

// Bytes that differ wherever they are cut.
std::string Pattern(size_t size) {
  std::string text(size, '\0');
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>((i * 2654435761u) >> 13);
  return text;
}

// A connection whose handshake is done.
struct Connected {
  explicit Connected(TlsFixture* fixture) : Connected(fixture->Open()) {}
  explicit Connected(std::pair<int, PlainEnd> ends) : client(ends.first, {}), server(std::move(ends.second)) {
    EXPECT_TRUE(client.Handshake()) << client.error();
  }
  TlsClient client;
  PlainEnd server;
};

TEST(TunnelTest, LargeTransfersKeepTheirOrderBothWays) {
  TlsFixture fixture;
  Connected connected(&fixture);
  const std::string up = Pattern(3 << 20), down = Pattern(5 << 20);
  std::string received;
  std::thread server([&] {
    EXPECT_EQ(connected.server.ReadExactly(up.size()), up);
    EXPECT_EQ(connected.server.Write(down), down.size());
  });
  for (size_t at = 0; at < up.size(); at += 100'000) ASSERT_TRUE(connected.client.Send(up.substr(at, 100'000)));
  while (received.size() < down.size()) {
    const std::string more = connected.client.Read();
    if (more.empty()) break;
    received += more;
  }
  server.join();
  EXPECT_TRUE(received == down);
}

TEST(TunnelTest, AClientThatDoesNotReadHoldsTheServerUp) {
  TlsFixture fixture;
  Connected slow(&fixture), quick(&fixture);
  const std::string much(16 << 20, 'x');
  const size_t taken = slow.server.Write(much, /*timeout_ms=*/300);
  EXPECT_LT(taken, size_t{2} << 20);  // buffers of two socket pairs, and a record
  // Others are not held up.
  quick.server.Write("hello");
  EXPECT_EQ(quick.client.Read(), "hello");
  // And all of it arrives once it is read.
  slow.server.Close();
  EXPECT_EQ(slow.client.ReadAll().size(), taken);
  EXPECT_TRUE(slow.client.ended_well());
}

TEST(TunnelTest, AServerThatDoesNotReadHoldsTheClientUp) {
  TlsFixture fixture;
  Connected connected(&fixture);
  ASSERT_EQ(::fcntl(connected.client.fd(), F_SETFL, O_NONBLOCK), 0);
  size_t sent = 0;
  const std::string piece(16 << 10, 'x');
  // Until nothing is taken any more for a while.
  for (int refused = 0; refused < 200;) {
    if (connected.client.Send(piece)) {
      sent += piece.size();
      ASSERT_LT(sent, size_t{4} << 20);
    } else {
      ++refused;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  EXPECT_GE(connected.server.ReadExactly(sent).size(), sent);
}

TEST(TunnelTest, TheClientsEndReachesTheServerWhichMayStillAnswer) {
  TlsFixture fixture;
  Connected connected(&fixture);
  ASSERT_TRUE(connected.client.Send("question"));
  connected.client.SendEnd();
  EXPECT_EQ(connected.server.ReadExactly(8), "question");
  EXPECT_EQ(connected.server.Read(), "");
  EXPECT_TRUE(connected.server.HungUp());
  connected.server.Write("answer");
  connected.server.Close();
  EXPECT_EQ(connected.client.ReadAll(), "answer");
}

TEST(TunnelTest, AClientThatVanishesIsSeenAtOnce) {
  TlsFixture fixture;
  auto ends = fixture.Open();
  {
    TlsClient client(ends.first, {});
    ASSERT_TRUE(client.Handshake());
  }
  EXPECT_TRUE(ends.second.HungUp());
  ends.second.Close();
  EXPECT_TRUE(fixture.WaitFor([&] { return fixture.Connections() == 0; }));
}

TEST(TunnelTest, AClientThatVanishesIsSeenByAServerThatWrites) {
  TlsFixture fixture;
  for (int i = 0; i < 200; ++i) {
    auto ends = fixture.Open();
    std::thread server;
    {
      TlsClient client(ends.first, {});
      ASSERT_TRUE(client.Handshake());
      server = std::thread([&] { ends.second.Write(std::string(4 << 20, 'x')); });
      EXPECT_NE(client.Read(), "");
    }
    // The server's end is still open: what it writes must fail, not wait for somebody to read it.
    EXPECT_TRUE(fixture.WaitFor([&] { return fixture.Connections() == 0; }));
    server.join();
  }
}

TEST(TunnelTest, AServerThatOnlyStopsWritingStillReads) {
  TlsFixture fixture;
  Connected connected(&fixture);
  connected.server.Write("bye");
  ASSERT_EQ(::shutdown(connected.server.fd(), SHUT_WR), 0);
  EXPECT_EQ(connected.client.ReadAll(), "bye");
  EXPECT_TRUE(connected.client.ended_well());
  ASSERT_TRUE(connected.client.Send("late"));
  EXPECT_EQ(connected.server.ReadExactly(4), "late");
  connected.server.Close();
  EXPECT_TRUE(fixture.WaitFor([&] { return fixture.Connections() == 0; }));
}

TEST(TunnelTest, BytesThatAreNoRecordEndTheConnection) {
  TlsFixture fixture;
  Connected connected(&fixture);
  ASSERT_EQ(::send(connected.client.fd(), "garbage garbage", 15, MSG_NOSIGNAL), 15);
  EXPECT_EQ(connected.server.Read(), "");
  EXPECT_TRUE(connected.server.HungUp());
  EXPECT_TRUE(fixture.WaitFor([&] { return fixture.Connections() == 0; }));
}

TEST(TunnelTest, WhatIsLeftForAClientThatDoesNotReadIsDroppedInTime) {
  TlsFixture fixture(
      [](TlsFixture*, Terminator::Options* options) { options->flush_timeout = absl::Milliseconds(50); });
  Connected connected(&fixture);
  connected.server.Write(std::string(8 << 20, 'x'), /*timeout_ms=*/100);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_EQ(fixture.Connections(), 1);  // the server is there, and has limits of its own
  connected.server.Close();
  EXPECT_TRUE(fixture.WaitFor([&] { return fixture.Connections() == 0; }));
}

}  // namespace
}  // namespace hadal::tls
