// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/client/target.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace hadal::bench {
namespace {

TEST(TargetTest, ReadsUrls) {
  struct Case {
    const char *url, *authority, *path;
    Scheme scheme;
  };
  for (const Case& one : std::vector<Case>{{"http://a:8000", "a:8000", "", Scheme::kHttp},
                                           {"a:8000/", "a:8000", "", Scheme::kHttp},
                                           {"https://api.example.com/v1", "api.example.com:443", "", Scheme::kHttps},
                                           {"http://a/proxy/x/v1/", "a:80", "/proxy/x", Scheme::kHttp},
                                           {"grpc://[::1]:9000", "[::1]:9000", "", Scheme::kGrpc},
                                           {"grpcs://h:9000", "h:9000", "", Scheme::kGrpcs},
                                           {"http://[::1]", "[::1]:80", "", Scheme::kHttp}}) {
    const auto target = ParseTarget(one.url);
    ASSERT_TRUE(target.ok()) << target.status();
    EXPECT_EQ(target->Authority(), one.authority);
    EXPECT_EQ(target->base_path, one.path);
    EXPECT_EQ(target->scheme, one.scheme);
  }
}

TEST(TargetTest, TheCallIsUnderV1OrWhereTheUrlSays) {
  struct Case {
    const char *url, *chat, *completions, *models, *host;
  };
  for (const Case& one :
       std::vector<Case>{{"http://a", "/v1/chat/completions", "/v1/completions", "/v1/models", "a"},
                         {"http://a:80/x/v1/", "/x/v1/chat/completions", "/x/v1/completions", "/x/v1/models", "a"},
                         {"https://a:80/v1", "/v1/chat/completions", "/v1/completions", "/v1/models", "a:80"},
                         {"http://[::1]:80/v1/chat/completions", "/v1/chat/completions", "/v1/chat/completions",
                          "/v1/models", "[::1]"},
                         {"https://a.azure.com/openai/deployments/d/chat/completions?api-version=1",
                          "/openai/deployments/d/chat/completions?api-version=1",
                          "/openai/deployments/d/chat/completions?api-version=1",
                          "/openai/deployments/d/models?api-version=1", "a.azure.com"}}) {
    const auto target = ParseTarget(one.url);
    ASSERT_TRUE(target.ok()) << target.status();
    EXPECT_EQ(target->CallPath(true), one.chat);
    EXPECT_EQ(target->CallPath(false), one.completions);
    EXPECT_EQ(target->ModelsPath(), one.models);
    EXPECT_EQ(target->HostField(), one.host);
  }
  EXPECT_FALSE(ParseTarget("http://a/v4/completions")->call_is_chat);
  EXPECT_TRUE(ParseTarget("http://a/v4/chat/completions")->call_is_chat);
}

TEST(TargetTest, RefusesWhatIsNoServer) {
  for (const char* url :
       {"", "http://", "ftp://a", "a:0", "a:99999", "a:x", "http://a?q=1", "grpc://a/x", "http://[::1", "u@h:1"}) {
    const auto target = ParseTarget(url);
    EXPECT_FALSE(target.ok()) << url;
    EXPECT_THAT(std::string(target.status().message()), testing::HasSubstr("http://HOST:PORT"));
  }
}

}  // namespace
}  // namespace hadal::bench
