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
