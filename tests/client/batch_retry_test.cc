// SPDX-License-Identifier: Apache-2.0
// What is asked again, and what is not because it could be done twice.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <future>
#include <string>
#include <thread>

#include "absl/time/clock.h"
#include "client/batch_client.h"
#include "client/batch_lines.h"
#include "tests/server/rpc/batch_grpc_fixture.h"
#include "tests/support/listening_socket.h"

namespace hadal::client {
namespace {

using ::hadal::testing::BatchGrpcFixture;
using ::hadal::testing::ListeningSocket;
using ::testing::HasSubstr;
using ::testing::Not;

// A server that takes a connection and the beginning of a call, and is gone then.
class BreakingServer {
 public:
  ~BreakingServer() {
    listener_.Shutdown();
    thread_.join();
  }

  std::string target() const { return listener_.target(); }
  // So many calls have come.
  int calls() const { return calls_; }

 private:
  void Serve() {
    while (true) {
      const int fd = listener_.Accept();
      if (fd < 0) return;
      static constexpr char kSettings[9] = {0, 0, 0, 4};  // empty ones: the connection is made
      (void)!write(fd, kSettings, sizeof(kSettings));
      std::string preface(24, '\0');
      bool going = Read(fd, &preface);
      while (going) {
        std::string head(9, '\0');
        if (!Read(fd, &head)) break;
        std::string rest((static_cast<unsigned char>(head[0]) << 16) | (static_cast<unsigned char>(head[1]) << 8) |
                             static_cast<unsigned char>(head[2]),
                         '\0');
        going = Read(fd, &rest) && head[3] != 1;
        if (head[3] == 1) ++calls_;  // HEADERS
      }
      close(fd);
    }
  }
  static bool Read(int fd, std::string* all) {
    return all->empty() || recv(fd, all->data(), all->size(), MSG_WAITALL) == static_cast<ssize_t>(all->size());
  }

  const ListeningSocket listener_;
  std::atomic<int> calls_{0};
  std::thread thread_{[this] { Serve(); }};
};

ChannelOptions Options(const std::string& target, int attempts) {
  ChannelOptions options = {.targets = {target}};
  options.retry.max_attempts = attempts;
  options.retry.initial_backoff = options.retry.max_backoff = absl::Milliseconds(1);
  return options;
}

constexpr char kUnknown[] = "whether the server did what was asked is not known";

TEST(BatchRetryTest, WhatMayHaveBeenDoneIsNotAskedForAgain) {
  const std::function<absl::Status(BatchClient&)> calls[] = {
      [](BatchClient& client) { return client.Create({.input_file = "file-1"}).status(); },
      [](BatchClient& client) { return client.DeleteFile("file-1"); },
      [](BatchClient& client) { return client.UploadFile({.text = "short"}).status(); },
  };
  for (const auto& call : calls) {
    // A connection for each: a call that comes before gRPC has let go of a broken one is lost on it.
    BreakingServer server;
    const absl::Status status = call(*BatchClient::Connect(Options(server.target(), 3)).value());
    EXPECT_TRUE(absl::IsUnavailable(status)) << status;
    EXPECT_THAT(status.message(), HasSubstr(kUnknown));
    EXPECT_EQ(server.calls(), 1);
  }
}

TEST(BatchRetryTest, WhatDoesNoHarmIsAskedForAgain) {
  BreakingServer server;
  ChannelOptions options = Options(server.target(), 3);
  options.retry.initial_backoff = options.retry.max_backoff = absl::Milliseconds(100);
  const auto client = BatchClient::Connect(options).value();
  int before = 0;
  const auto expect_three = [&](const absl::Status& status) {
    EXPECT_TRUE(absl::IsUnavailable(status)) << status;
    EXPECT_THAT(status.message(), Not(HasSubstr(kUnknown)));
    // An attempt that comes before gRPC has let go of the connection that the last one broke is lost on it.
    EXPECT_GE(server.calls() - before, 2);
    EXPECT_LE(server.calls() - before, 3);
    before = server.calls();
  };
  expect_three(client->Get("batch_1").status());
  expect_three(client->Cancel("batch_1").status());
  expect_three(client->ReadFile("file-1", [](std::string_view) { return true; }));
  // More than the server's window: its end was not sent.
  expect_three(client->UploadFile({.text = std::string(1 << 20, 'x')}).status());
}

TEST(BatchRetryTest, ACallThatWasNotSentIsMadeAgain) {
  // A port where nobody listens.
  const int closed = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  bind(closed, reinterpret_cast<sockaddr*>(&address), size);
  getsockname(closed, reinterpret_cast<sockaddr*>(&address), &size);
  BatchGrpcFixture fixture;
  const std::string away = absl::StrCat("127.0.0.1:", ntohs(address.sin_port));
  const auto alone = BatchClient::Connect(Options(away, 2)).value();
  EXPECT_THAT(alone->Create({.input_file = "file-1"}).status().message(), Not(HasSubstr(kUnknown)));
  // Whichever is asked first, the batch is made, and once.
  ChannelOptions options = Options(away, 3);
  options.targets.push_back(absl::StrCat("127.0.0.1:", fixture.grpc.server->port()));
  for (int i = 0; i < 4; ++i) {
    const auto both = BatchClient::Connect(options).value();
    const absl::StatusOr<Batch> made = both->Submit({.text = BatchLine("a", CompletionOptions())}, {});
    ASSERT_TRUE(made.ok()) << made.status();
  }
  EXPECT_EQ(fixture.CountFiles(), 4);
  close(closed);
}

TEST(BatchRetryTest, ARefusalIsWaitedOut) {
  BatchGrpcFixture fixture;
  ChannelOptions options = Options(absl::StrCat("127.0.0.1:", fixture.grpc.server->port()), 50);
  const auto client = BatchClient::Connect(options).value();
  const absl::StatusOr<BatchFile> file = client->UploadFile({.text = BatchLine("a", CompletionOptions())});
  ASSERT_TRUE(file.ok()) << file.status();
  std::promise<void> release, busy;
  const std::shared_future<void> released = release.get_future().share();
  ASSERT_TRUE(fixture.batches->TryPost([&busy, released](batches::Tables&) {
    busy.set_value();
    released.wait();
  }));
  busy.get_future().wait();
  while (fixture.batches->TryPost([released](batches::Tables&) { released.wait(); })) continue;
  std::promise<absl::StatusOr<Batch>> made;
  client->StartCreate({.input_file = file->id}, [&](absl::StatusOr<Batch> batch) { made.set_value(std::move(batch)); });
  EXPECT_TRUE(fixture.WaitFor(
      [&] { return fixture.grpc.base.metrics.Expose().find("WORKER_QUEUE_FULL") != std::string::npos; }));
  release.set_value();
  const absl::StatusOr<Batch> batch = made.get_future().get();
  ASSERT_TRUE(batch.ok()) << batch.status();
  EXPECT_EQ(client->List()->items.size(), 1u);
}

}  // namespace
}  // namespace hadal::client
