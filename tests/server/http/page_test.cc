// SPDX-License-Identifier: Apache-2.0
// The page's files, and the routes that serve them.
#include "server/http/page.h"

#include <algorithm>
#include <set>
#include <string>

#include "gtest/gtest.h"
#include "server/request/refusal.h"
#include "tests/server/http/http_fixture.h"

namespace hadal::http {
namespace {

using hadal::testing::ExpectError;
using hadal::testing::HttpFixture;
using hadal::testing::HttpReply;
using hadal::testing::RawHttpClient;
using hadal::testing::ServiceFixture;

std::string HeaderOf(const Response& response, std::string_view name) {
  const auto found = std::find_if(response.headers.begin(), response.headers.end(),
                                  [&](const auto& header) { return header.first == name; });
  return found == response.headers.end() ? "" : found->second;
}

TEST(PageTest, FilesAreWholeAndApart) {
  std::set<std::string_view> names, hashes;
  size_t bytes = 0;
  for (const PageFile& file : PageFiles()) {
    EXPECT_NE(file.content.find("SPDX-License-Identifier"), std::string_view::npos) << file.name;
    EXPECT_EQ(file.content.back(), '\n') << file.name;
    EXPECT_EQ(file.sha256.size(), 64u) << file.name;
    names.insert(file.name);
    hashes.insert(file.sha256);
    bytes += file.content.size();
  }
  EXPECT_EQ(names.size(), PageFiles().size());
  EXPECT_EQ(hashes.size(), PageFiles().size());
  EXPECT_LT(bytes, 100'000u);
}

TEST(PageTest, AnEmptyNameIsThePageItself) {
  const absl::StatusOr<Response> page = PageResponse("", "");
  ASSERT_TRUE(page.ok());
  EXPECT_EQ(page->status, 200);
  EXPECT_EQ(page->content_type, "text/html; charset=utf-8");
  EXPECT_EQ(page->body, PageResponse("index.html", "")->body);
  EXPECT_EQ(PageResponse("icon.svg", "")->content_type, "image/svg+xml");
  EXPECT_EQ(PageResponse("page.js", "")->content_type, "text/javascript; charset=utf-8");
}

TEST(PageTest, AFileThatTheClientHasIsNotSent) {
  const std::string tag = HeaderOf(*PageResponse("page.css", ""), "etag");
  for (const std::string& list : {tag, "W/" + tag, "\"x\" ,\t" + tag, std::string("*")}) {
    const absl::StatusOr<Response> response = PageResponse("page.css", list);
    EXPECT_EQ(response->status, 304) << list;
    EXPECT_TRUE(response->body.empty()) << list;
    EXPECT_EQ(HeaderOf(*response, "etag"), tag) << list;
  }
  for (const std::string& list : {std::string("\"x\""), tag.substr(1), "x" + tag, std::string(",")}) {
    EXPECT_EQ(PageResponse("page.css", list)->status, 200) << list;
  }
}

TEST(PageTest, OtherNamesAreNoRoute) {
  for (const std::string_view name : {"x.js", "../page.cc", "INDEX.HTML", "page.css/"}) {
    EXPECT_EQ(request::GetErrorDetail(PageResponse(name, "").status()).reason, request::Reason::kRouteNotFound) << name;
  }
}

TEST(PageTest, ServedOverHttp) {
  HttpFixture fixture(ServiceFixture::Says("</think>x"));
  const HttpReply page = fixture.Do("GET", "/");
  EXPECT_EQ(page.status, 200);
  EXPECT_NE(page.Header("content-security-policy").find("frame-ancestors 'none'"), std::string::npos);
  EXPECT_EQ(page.Header("x-content-type-options"), "nosniff");
  EXPECT_EQ(fixture.Do("GET", "/?from=a+bookmark").body, page.body);
  ExpectError(fixture.Do("POST", "/"), 405, "METHOD_NOT_ALLOWED");
  ExpectError(fixture.Do("GET", "/page/nothing"), 404, "ROUTE_NOT_FOUND");
  ExpectError(fixture.Do("GET", "/v1/page/page.js"), 404, "ROUTE_NOT_FOUND");

  // The connection is kept through answers without a body.
  RawHttpClient client(fixture.port());
  const std::string known = "If-None-Match: " + std::string(page.Header("etag")) + "\r\n";
  client.Send(RawHttpClient::Request("GET", "/", "", known));
  EXPECT_EQ(client.ReadHead().status, 304);
  client.Send(RawHttpClient::Request("HEAD", "/page/page.js"));
  EXPECT_EQ(client.ReadHead().status, 200);
  EXPECT_EQ(client.Do("GET", "/version").status, 200);
}

TEST(PageTest, WhereItIsOff) {
  struct Case {
    PageMode mode;
    const char* host;
    const char* keys;
    bool on;
  };
  for (const Case& c :
       {Case{PageMode::kAuto, "127.0.0.1", "", true}, Case{PageMode::kAuto, "0.0.0.0", "", false},
        Case{PageMode::kAuto, "0.0.0.0", "secret acme\n", true}, Case{PageMode::kOn, "0.0.0.0", "", true},
        Case{PageMode::kOff, "127.0.0.1", "secret acme\n", false}}) {
    HttpFixture::Options options;
    options.http.page = c.mode;
    options.http.front.host = c.host;
    options.keys = c.keys;
    HttpFixture fixture(ServiceFixture::Says("</think>x"), options);
    const HttpReply page = fixture.Do("GET", "/");
    EXPECT_EQ(page.status, c.on ? 200 : 404) << c.host << c.keys;
    EXPECT_EQ(fixture.Do("GET", "/page/page.js").status, c.on ? 200 : 404) << c.host << c.keys;
    if (!c.on) ExpectError(page, 404, "ROUTE_NOT_FOUND");
  }
}

}  // namespace
}  // namespace hadal::http
