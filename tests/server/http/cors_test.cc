// SPDX-License-Identifier: Apache-2.0
#include "server/http/cors.h"

#include "gtest/gtest.h"
#include "tests/server/http/http_fixture.h"
#include "tests/support/status_matchers.h"

namespace hadal::http {
namespace {

using hadal::testing::HttpFixture;
using hadal::testing::HttpReply;
using hadal::testing::RawHttpClient;
using hadal::testing::ServiceFixture;

constexpr char kChat[] = "/v1/chat/completions";
constexpr char kPreflight[] =
    "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization, x-stainless-os\r\n";

TEST(CorsPolicyTest, LocalhostMeansEveryPortAndNothingElse) {
  const CorsPolicy policy = CorsPolicy::Parse("localhost").value();
  for (const char* origin : {"http://localhost", "http://localhost:3000", "https://LOCALHOST:1",
                             "http://127.0.0.1:8080", "https://[::1]:5173"}) {
    EXPECT_TRUE(policy.Allows(origin)) << origin;
  }
  for (const char* origin :
       {"", "null", "localhost", "http://localhost.evil.com", "http://localhost:x", "ftp://localhost",
        "http://127.0.0.1.evil.com", "http://evil.com", "http://evil.com/localhost", "http://u@localhost", "file://"}) {
    EXPECT_FALSE(policy.Allows(origin)) << origin;
  }
}

TEST(CorsPolicyTest, ListsAreExactAndBadOnesAreNamed) {
  const CorsPolicy policy = CorsPolicy::Parse(" https://App.example.com , http://10.0.0.5:3000").value();
  EXPECT_TRUE(policy.Allows("https://app.example.com"));
  EXPECT_TRUE(policy.Allows("http://10.0.0.5:3000"));
  EXPECT_FALSE(policy.Allows("http://app.example.com"));
  EXPECT_FALSE(policy.Allows("https://app.example.com:444"));
  EXPECT_FALSE(policy.Allows("http://localhost"));
  EXPECT_FALSE(CorsPolicy::Parse("").value().Allows("http://localhost"));
  EXPECT_FALSE(CorsPolicy::Parse("none").value().Allows("http://none"));
  EXPECT_TRUE(CorsPolicy::Parse("*").value().Allows("http://evil.com"));
  for (const char* list : {"app.example.com", "https://a/b", "https://", "ftp://a", "https://a,b"}) {
    EXPECT_FALSE(CorsPolicy::Parse(list).ok()) << list;
  }
}

TEST(CorsTest, APreflightIsAnsweredWithoutAKey) {
  HttpFixture::Options options;
  options.keys = "secret acme\n";
  HttpFixture fixture(ServiceFixture::Says("</think>x"), options);
  RawHttpClient client(fixture.port());
  client.Send(
      RawHttpClient::Request("OPTIONS", kChat, "", std::string("Origin: http://localhost:3000\r\n") + kPreflight));
  const HttpReply reply = client.ReadHead();
  EXPECT_EQ(reply.status, 204);
  EXPECT_EQ(reply.Header("access-control-allow-origin"), "http://localhost:3000");
  EXPECT_EQ(reply.Header("access-control-allow-methods"), "POST, OPTIONS");
  EXPECT_EQ(reply.Header("access-control-allow-headers"), "authorization, x-stainless-os");
  EXPECT_EQ(reply.Header("access-control-max-age"), "600");
  EXPECT_EQ(reply.Header("access-control-allow-credentials"), "");
  EXPECT_EQ(reply.Header("vary"), "Origin");
  EXPECT_EQ(reply.Header("content-length"), "");

  const HttpReply refused = client.Do("OPTIONS", kChat, "", std::string("Origin: http://evil.com\r\n") + kPreflight);
  EXPECT_EQ(refused.status, 403);
  EXPECT_EQ(refused.Header("access-control-allow-origin"), "");
  EXPECT_EQ(refused.Header("vary"), "Origin");
  EXPECT_NE(refused.body.find("--cors-origin "), std::string::npos);
  EXPECT_EQ(client.Do("OPTIONS", "/nonsense").status, 404);
}

TEST(CorsTest, AnswersErrorsAndStreamsCarryIt) {
  HttpFixture fixture(ServiceFixture::Says("</think>x"));
  RawHttpClient client(fixture.port());
  const std::string origin = "Origin: http://127.0.0.1:5173\r\n";
  const std::string ask = R"({"messages":[{"role":"user","content":"x"}])";
  for (const HttpReply& reply :
       {client.Do("GET", "/v1/models", "", origin), client.Do("POST", kChat, ask + "}", origin),
        client.Do("POST", kChat, ask + R"(,"stream":true})", origin), client.Do("POST", kChat, "{", origin),
        client.Do("GET", "/nonsense", "", origin)}) {
    EXPECT_EQ(reply.Header("access-control-allow-origin"), "http://127.0.0.1:5173") << reply.head;
    EXPECT_EQ(reply.Header("vary"), "Origin");
    EXPECT_NE(reply.Header("access-control-expose-headers").find("x-hadal-reason"), std::string::npos);
    EXPECT_NE(reply.Header("access-control-expose-headers").find("Retry-After"), std::string::npos);
  }
  const HttpReply foreign = client.Do("GET", "/v1/models", "", "Origin: http://evil.com\r\n");
  EXPECT_EQ(foreign.status, 200);
  EXPECT_EQ(foreign.Header("access-control-allow-origin"), "");
  EXPECT_EQ(foreign.Header("vary"), "Origin");
  EXPECT_EQ(client.Do("GET", "/v1/models").Header("access-control-allow-origin"), "");
}

TEST(CorsTest, AnyOriginGetsTheStarAndNoCredentials) {
  HttpFixture::Options options;
  options.http.cors = CorsPolicy::Parse("*").value();
  HttpFixture fixture(ServiceFixture::Says("</think>x"), options);
  const HttpReply reply = fixture.Do("GET", "/v1/models", "", "Origin: http://evil.com\r\n");
  EXPECT_EQ(reply.Header("access-control-allow-origin"), "*");
  EXPECT_EQ(reply.Header("access-control-allow-credentials"), "");
  EXPECT_EQ(reply.Header("vary"), "");
}

}  // namespace
}  // namespace hadal::http
