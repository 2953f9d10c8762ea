// SPDX-License-Identifier: Apache-2.0
#include "client/download.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "client/batch_client.h"
#include "tests/client/cutting_proxy.h"
#include "tests/server/rpc/batch_grpc_fixture.h"

namespace hadal::client {
namespace {

using ::hadal::testing::BatchGrpcFixture;

std::string Pattern(size_t bytes) {
  std::string text(bytes, ' ');
  for (size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>(i * 131 >> 3);
  return text;
}

class DownloadTest : public ::testing::Test {
 protected:
  std::unique_ptr<BatchClient> Connected(const std::string& target, int attempts = 2) {
    ChannelOptions options = {.targets = {target}};
    options.retry.max_attempts = attempts;
    options.retry.initial_backoff = options.retry.max_backoff = absl::Milliseconds(1);
    return BatchClient::Connect(options).value();
  }
  std::string Upload(const std::string& content) {
    const auto file = Connected(absl::StrCat("127.0.0.1:", port()))->UploadFile({.text = content});
    EXPECT_TRUE(file.ok()) << file.status();
    return file.ok() ? file->id : "";
  }
  int port() const { return fixture_.grpc.server->port(); }

  BatchGrpcFixture fixture_;
};

TEST_F(DownloadTest, GoesOnWhereItBrokeOffAndSaysHowFarItHasCome) {
  const std::string content = Pattern(3'000'000);
  const std::string id = Upload(content);
  // More often than a call may be tried: each attempt brings something.
  CuttingProxy proxy(port(), /*cuts=*/6, /*bytes=*/400'000);
  std::string read;
  DownloadProgress last;
  const absl::Status status =
      Connected(proxy.target())->ReadFile(id, [&](std::string_view bytes, const DownloadProgress& progress) {
        read.append(bytes);
        EXPECT_EQ(progress.received, static_cast<int64_t>(read.size()));
        EXPECT_EQ(progress.total, 3'000'000);
        EXPECT_GE(progress.resumed, last.resumed);
        last = progress;
        return true;
      });
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_TRUE(read == content);
  EXPECT_EQ(last.resumed, 6);
  EXPECT_EQ(proxy.connections(), 7);
}

TEST_F(DownloadTest, GivesUpWhereAttemptsBringNothing) {
  const std::string id = Upload(Pattern(3'000'000));
  CuttingProxy proxy(port(), /*cuts=*/1000, /*bytes=*/400'000);
  int64_t received = 0;
  {
    CuttingProxy mute(port(), /*cuts=*/1000, /*bytes=*/1);
    EXPECT_TRUE(absl::IsUnavailable(Connected(mute.target(), 3)->ReadFile(id, [](std::string_view) { return true; })));
    EXPECT_LE(mute.connections(), 4);
  }
  // The budget of retries ends it in any case.
  ChannelOptions options = {.targets = {proxy.target()}};
  options.retry.budget = 2;
  options.retry.initial_backoff = options.retry.max_backoff = absl::Milliseconds(1);
  const absl::Status status =
      BatchClient::Connect(options).value()->ReadFile(id, [&](std::string_view, const DownloadProgress& progress) {
        received = progress.received;
        return true;
      });
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_GT(received, 0);
  EXPECT_LT(received, 3'000'000);
}

TEST_F(DownloadTest, BeginsWhereItIsToldTo) {
  const std::string content = Pattern(600'000);
  const std::string id = Upload(content);
  const auto client = Connected(absl::StrCat("127.0.0.1:", port()));
  std::string rest;
  const auto append = [&](std::string_view bytes, const DownloadProgress&) {
    rest.append(bytes);
    return true;
  };
  ASSERT_TRUE(client->ReadFile(id, append, 599'000).ok());
  EXPECT_EQ(rest, content.substr(599'000));
  rest.clear();
  ASSERT_TRUE(client->ReadFile(id, append, 600'000).ok()) << "nothing is left";
  EXPECT_EQ(rest, "");
  EXPECT_EQ(client->ReadFile(id, append, 600'001).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace hadal::client
