// SPDX-License-Identifier: Apache-2.0
#include "server/kv_events/kv_event_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hadal::kv_events {
namespace {

using ::testing::HasSubstr;

TEST(KvEventOptionsTest, EndpointsAreChecked) {
  for (const char* endpoint : {"", "tcp://*:5557", "tcp://127.0.0.1:*", "tcp://router.svc:5557", "ipc:///tmp/events"}) {
    EXPECT_TRUE((KvEventOptions{.endpoint = endpoint}.Validate().ok())) << endpoint;
  }
  for (const char* endpoint : {"5557", "tcp://", "tcp://host", "tcp://host:", "ipc://", "udp://*:1", "http://x:1"}) {
    const absl::Status status = KvEventOptions{.endpoint = endpoint}.Validate();
    EXPECT_THAT(std::string(status.message()), HasSubstr(std::string("--kv-events is '") + endpoint));
  }
}

TEST(KvEventOptionsTest, ReplayNeedsEventsAndListens) {
  EXPECT_TRUE((KvEventOptions{.endpoint = "tcp://*:1", .replay = "tcp://*:2"}.Validate().ok()));
  EXPECT_THAT(std::string(KvEventOptions{.replay = "tcp://*:2"}.Validate().message()), HasSubstr("needs --kv-events"));
  EXPECT_THAT(std::string(KvEventOptions{.endpoint = "tcp://*:1", .replay = "tcp://host:2"}.Validate().message()),
              HasSubstr("--kv-events-replay is 'tcp://host:2'; subscribers connect to it"));
}

TEST(KvEventOptionsTest, APodsNameCannotPartTheTopic) {
  EXPECT_TRUE((KvEventOptions{.endpoint = "tcp://*:1", .pod = "10.0.0.7:8000"}.Validate().ok()));
  EXPECT_THAT(std::string(KvEventOptions{.endpoint = "tcp://*:1", .pod = "a@b"}.Validate().message()),
              HasSubstr("--kv-events-pod is 'a@b'"));
}

TEST(KvEventOptionsTest, WildcardsAndPathsAreListenedAt) {
  for (const char* endpoint : {"tcp://*:5557", "tcp://127.0.0.1:*", "tcp://[::]:5557", "ipc:///tmp/x"}) {
    EXPECT_TRUE(IsBindEndpoint(endpoint)) << endpoint;
  }
  for (const char* endpoint : {"tcp://router:5557", "tcp://10.0.0.1:5557"}) EXPECT_FALSE(IsBindEndpoint(endpoint));
}

}  // namespace
}  // namespace hadal::kv_events
