// SPDX-License-Identifier: Apache-2.0
#include "server/commands/server_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

namespace hadal::commands {
namespace {

using ::testing::HasSubstr;

std::string WriteToml(const std::string& text) {
  const std::string path = ::testing::TempDir() + "/hadal_server_config_test_" + std::to_string(::getpid()) + ".toml";
  std::ofstream(path) << text;
  return path;
}

TEST(ServerConfigTest, DefaultsMatchTheDocumentedOnes) {
  auto parsed = ParseServerConfig("serve", {});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->config.http.port, 8000);
  EXPECT_EQ(parsed->config.front.host, "127.0.0.1");
  EXPECT_EQ(parsed->config.admission.max_queue_requests, 512);
  EXPECT_EQ(parsed->config.drain_timeout, absl::Seconds(30));
  EXPECT_TRUE(parsed->config.model.models.empty());
}

TEST(ServerConfigTest, OriginsAddUpAndReplaceTheDefault) {
  const auto cors = [](const std::vector<std::string>& args) {
    auto parsed = ParseServerConfig("serve", args);
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    return parsed->config.http.cors;
  };
  EXPECT_TRUE(cors({}).Allows("http://localhost:3000"));
  const http::CorsPolicy two = cors({"--cors-origin=https://a.example", "--cors-origin=http://b.example:81"});
  EXPECT_TRUE(two.Allows("https://a.example"));
  EXPECT_TRUE(two.Allows("http://b.example:81"));
  EXPECT_FALSE(two.Allows("http://localhost:3000"));
  const http::CorsPolicy list = cors({"--cors-origin=localhost,https://a.example"});
  EXPECT_TRUE(list.Allows("http://localhost"));
  EXPECT_TRUE(list.Allows("https://a.example"));
  EXPECT_FALSE(cors({"--cors-origin=none"}).Allows("http://localhost"));
  auto bad = ParseServerConfig("serve", {"--cors-origin=https://a.example", "--cors-origin=a.example"});
  EXPECT_THAT(std::string(bad.status().message()), HasSubstr("--cors-origin: 'a.example' is no origin"));
}

TEST(ServerConfigTest, FlagBeatsEnvironmentBeatsFile) {
  const std::string path = WriteToml("port = 1000\nmax-batch-size = 7\nmax_batch_tokens = 99\n");
  setenv("HADAL_PORT", "2000", 1);
  setenv("HADAL_MAX_BATCH_SIZE", "8", 1);
  auto parsed = ParseServerConfig("serve", {"--port=3000", "--config", path});
  unsetenv("HADAL_PORT");
  unsetenv("HADAL_MAX_BATCH_SIZE");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->config.http.port, 3000);
  EXPECT_EQ(parsed->config.engine.max_batch_size, 8);
  EXPECT_EQ(parsed->config.engine.max_batch_tokens, 99);
  EXPECT_EQ(parsed->flags.values["port"].source, base::ValueSource::kFlag);
  EXPECT_EQ(parsed->flags.values["max-batch-size"].source, base::ValueSource::kEnvironment);
  EXPECT_EQ(parsed->flags.values["max-batch-tokens"].source, base::ValueSource::kFile);
  EXPECT_THAT(parsed->flags.ToToml(), HasSubstr("port = \"3000\"  # flag"));
}

TEST(ServerConfigTest, ACollectorIsAnAddressWithOrWithoutTls) {
  for (const std::string text : {"collector:4317", "http://collector:4317", "https://collector:4317/"}) {
    auto parsed = ParseServerConfig("serve", {"--otlp-traces-endpoint=" + text});
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(parsed->config.trace.endpoint, "collector:4317");
    EXPECT_EQ(parsed->config.trace.tls, text.starts_with("https"));
    EXPECT_TRUE(parsed->config.trace.Validate().ok());
  }
  for (const std::string text : {"ftp://collector:4317", "https://collector", "collector"}) {
    EXPECT_THAT(std::string(ParseServerConfig("serve", {"--otlp-traces-endpoint=" + text}).status().message()),
                HasSubstr("found '" + text + "'"));
  }
}

TEST(ServerConfigTest, ACollectorsAuthoritiesAreForTls) {
  auto parsed = ParseServerConfig("serve", {"--otlp-traces-endpoint=collector:4317", "--otlp-traces-ca=ca.pem"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_THAT(std::string(parsed->config.trace.Validate().message()),
              HasSubstr("--otlp-traces-ca needs an --otlp-traces-endpoint with https://"));
}

TEST(ServerConfigTest, AShareOfTracesIsFromNoneToAll) {
  auto parsed = ParseServerConfig("serve", {"--trace-sample-ratio=0.25"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->config.trace.sample_ratio, 0.25);
  for (const std::string text : {"1.5", "-1", "half", "nan"}) {
    EXPECT_THAT(std::string(ParseServerConfig("serve", {"--trace-sample-ratio=" + text}).status().message()),
                HasSubstr("expected a number from 0 to 1, found '" + text + "'"));
  }
}

TEST(ServerConfigTest, AStepHasATokenForEverySequence) {
  auto parsed = ParseServerConfig("serve", {"--max-batch-tokens=16", "--max-batch-size=40"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->config.engine.max_batch_tokens, 40);
}

TEST(ServerConfigTest, UnknownNamesAreRefusedWithTheNearestKnown) {
  auto flag = ParseServerConfig("serve", {"--max-batch-sise=3"});
  EXPECT_THAT(std::string(flag.status().message()), HasSubstr("did you mean 'max-batch-size'"));
  auto key = ParseServerConfig("serve", {"--config", WriteToml("prot = 1\n")});
  EXPECT_THAT(std::string(key.status().message()), HasSubstr("did you mean 'port'"));
  setenv("HADAL_PROT", "1", 1);
  auto variable = ParseServerConfig("serve", {});
  unsetenv("HADAL_PROT");
  EXPECT_THAT(std::string(variable.status().message()), HasSubstr("did you mean 'HADAL_PORT'"));
}

TEST(ServerConfigTest, RangeErrorsNameFlagLimitAndValue) {
  auto parsed = ParseServerConfig("serve", {"--port", "70000"});
  ASSERT_FALSE(parsed.ok());
  EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("--port"));
  EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("65535"));
  EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("70000"));
}

TEST(ServerConfigTest, WhatSeveralPartsShareReachesAll) {
  auto parsed = ParseServerConfig("serve", {"--slow-reader-timeout=7s", "--host=::1", "--max-body=1KiB"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const ServerConfig& config = parsed->config;
  EXPECT_EQ(config.engine.stream.slow_reader_timeout, absl::Seconds(7));
  for (const service::FrontOptions& front : {config.http.front, config.grpc.front}) {
    EXPECT_EQ(front.stream.slow_reader_timeout, absl::Seconds(7));
    EXPECT_EQ(front.host, "::1");
    EXPECT_EQ(front.max_body_bytes, 1024);
  }
}

TEST(ServerConfigTest, APortForBothIsNoPortOfItsOwn) {
  EXPECT_EQ(ParseServerConfig("serve", {"--port=7000", "--grpc-port=7000"})->config.grpc.port, -1);
  EXPECT_EQ(ParseServerConfig("serve", {"--port=7000", "--grpc-port=7001"})->config.grpc.port, 7001);
  EXPECT_EQ(ParseServerConfig("serve", {"--port=0", "--grpc-port=0"})->config.grpc.port, 0);
}

TEST(ServerConfigTest, CapacityRefusalsAreOneOfTwoStatuses) {
  EXPECT_EQ(ParseServerConfig("serve", {"--overload-http-status=429"})->config.http.overload_http_status, 429);
  EXPECT_EQ(ParseServerConfig("serve", {"--overload-http-status=529"})->config.http.overload_http_status, 529);
  EXPECT_EQ(ParseServerConfig("serve", {"--overload-http-status=500"}).status().message(),
            "--overload-http-status: expected 503, 429 or 529, found '500'");
}

TEST(ServerConfigTest, CapacityRefusalsOverGrpcAreOneOfTwoCodes) {
  EXPECT_EQ(ParseServerConfig("serve", {})->config.grpc.overload_code, absl::StatusCode::kUnavailable);
  EXPECT_EQ(ParseServerConfig("serve", {"--overload-grpc-code=RESOURCE_EXHAUSTED"})->config.grpc.overload_code,
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ParseServerConfig("serve", {"--overload-grpc-code=ABORTED"}).status().message(),
            "--overload-grpc-code: expected one of UNAVAILABLE, RESOURCE_EXHAUSTED, found 'ABORTED'");
}

}  // namespace
}  // namespace hadal::commands
