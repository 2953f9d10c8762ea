// SPDX-License-Identifier: Apache-2.0
// Handshakes and records from clients that are broken, in every way that chance finds: nothing leaks, nothing hangs,
// and others are served meanwhile.
#include <cstdlib>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/server/tls/tls_fixture.h"

namespace hadal::tls {
namespace {

using ::hadal::testing::PlainEnd;
using ::hadal::testing::TlsClient;
using ::hadal::testing::TlsFixture;

int Iterations() {
  const char* const text = std::getenv("HADAL_FUZZ_ITERATIONS");
  return text == nullptr ? 300 : std::atoi(text);
}

// The first flight of a client that works.
std::string ClientHello() {
  const ContextPtr context(SSL_CTX_new(TLS_client_method()));
  const SslPtr ssl(SSL_new(context.get()));
  BIO* const out = BIO_new(BIO_s_mem());
  SSL_set_bio(ssl.get(), BIO_new(BIO_s_mem()), out);
  SSL_set_tlsext_host_name(ssl.get(), "localhost");
  SSL_connect(ssl.get());
  char* data = nullptr;
  const long size = BIO_get_mem_data(out, &data);
  return {data, static_cast<size_t>(size)};
}

std::string Mutate(std::string bytes, std::minstd_rand& random) {
  const auto below = [&](size_t limit) { return random() % std::max<size_t>(limit, 1); };
  switch (random() % 5) {
    case 0:
      bytes.resize(below(bytes.size()));
      break;
    case 1:
      for (size_t i = 0; i <= below(8); ++i) bytes[below(bytes.size())] = static_cast<char>(random());
      break;
    case 2:
      bytes.insert(below(bytes.size()), std::string(below(2000), static_cast<char>(random())));
      break;
    case 3:
      bytes += bytes.substr(below(bytes.size()));
      break;
    default:
      for (char& byte : bytes) byte = static_cast<char>(random());
      bytes[0] = '\x16';
      break;
  }
  return bytes;
}

TEST(TlsFuzzTest, BrokenHandshakesLeakNothing) {
  TlsFixture fixture([](TlsFixture*, Terminator::Options* options) {
    options->tls.max_handshakes = 8;
    options->tls.handshake_timeout = absl::Milliseconds(200);
  });
  const std::string hello = ClientHello();
  ASSERT_GT(hello.size(), 100u);
  std::minstd_rand random(7);
  std::vector<std::pair<int, PlainEnd>> open;
  for (int i = 0; i < Iterations(); ++i) {
    open.push_back(fixture.Open());
    const std::string bytes = Mutate(hello, random);
    (void)::send(open.back().first, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (random() % 4 == 0) ::shutdown(open.back().first, SHUT_WR);
    if (random() % 8 == 0) open.back().second.Close();
    if (open.size() < 20) continue;
    for (auto& [fd, end] : open) ::close(fd);
    open.clear();
  }
  for (auto& [fd, end] : open) ::close(fd);
  open.clear();
  // Else those that it has not yet seen end may take up all the handshakes that it has at a time.
  ASSERT_TRUE(fixture.WaitFor([&] { return fixture.Connections() == 0; }));
  auto [fd, server] = fixture.Open();
  TlsClient client(fd, {});
  ASSERT_TRUE(client.Handshake()) << client.error();
  client.Send("alive");
  EXPECT_EQ(server.ReadExactly(5), "alive");
  EXPECT_TRUE(fixture.WaitFor([&] { return fixture.Connections() == 1; }));
}

TEST(TlsFuzzTest, BrokenRecordsEndTheirConnectionAlone) {
  TlsFixture fixture;
  std::minstd_rand random(11);
  auto [good_fd, good_server] = fixture.Open();
  TlsClient good(good_fd, {});
  ASSERT_TRUE(good.Handshake());
  for (int i = 0; i < Iterations() / 10; ++i) {
    auto [fd, server] = fixture.Open();
    TlsClient client(fd, {.max_version = i % 2 == 0 ? TLS1_2_VERSION : TLS1_3_VERSION});
    ASSERT_TRUE(client.Handshake()) << client.error();
    ASSERT_TRUE(client.Send("x"));
    EXPECT_EQ(server.ReadExactly(1), "x");
    std::string record(5 + random() % 200, '\0');
    for (char& byte : record) byte = static_cast<char>(random());
    if (random() % 2 == 0) record.replace(0, 3, "\x17\x03\x03");
    (void)::send(fd, record.data(), record.size(), MSG_NOSIGNAL);
    ::shutdown(fd, SHUT_WR);
    EXPECT_EQ(server.Read(), "");
    good_server.Write("tick");
    ASSERT_EQ(good.ReadUntil("tick"), "tick");
  }
  EXPECT_TRUE(fixture.WaitFor([&] { return fixture.Connections() == 1; }));
}

}  // namespace
}  // namespace hadal::tls
