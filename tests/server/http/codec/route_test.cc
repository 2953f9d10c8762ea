// SPDX-License-Identifier: Apache-2.0
#include "server/http/codec/route.h"

#include <string>
#include <string_view>

#include "gtest/gtest.h"

namespace hadal::http {
namespace {

std::string Problem(std::string_view method, std::string_view target) {
  std::string allow;
  const absl::StatusOr<RouteMatch> match = FindRoute(method, target, &allow);
  EXPECT_FALSE(match.ok()) << target;
  return std::string(match.status().message());
}

TEST(FindRouteTest, APathJoinedWronglyIsToldHowItIsRight) {
  constexpr std::string_view kHint = "? Look for a doubled / or /v1 in the base URL of the client";
  const struct {
    std::string_view method, path, meant;
  } cases[] = {{"POST", "//v1/chat/completions", "/v1/chat/completions"},
               {"POST", "/v1//chat///completions", "/v1/chat/completions"},
               {"GET", "/v1/v1/models", "/v1/models"},
               {"GET", "/v1/v1/v1/models/hadal-demo", "/v1/models/hadal-demo"},
               {"GET", "//v1/v1/chat/completions", "/v1/chat/completions"}};
  for (const auto& [method, path, meant] : cases) {
    EXPECT_EQ(Problem(method, path), "no route " + std::string(method) + " " + std::string(path) + "; did you mean " +
                                         std::string(meant) + std::string(kHint));
  }
}

TEST(FindRouteTest, APathSpeltNearlyRightIsToldTheRightOne) {
  EXPECT_EQ(Problem("POST", "/v1/chat/completion?x=1"),
            "no route POST /v1/chat/completion; did you mean /v1/chat/completions?");
  EXPECT_EQ(Problem("POST", "/v1/message"), "no route POST /v1/message; did you mean /v1/messages?");
  EXPECT_EQ(Problem("GET", "/metric"), "no route GET /metric; did you mean /metrics?");
  for (const std::string_view path : {"/v1/moderations", "/favicon.ico", "/v1/threads", "/generate", "/v1//nothing"}) {
    EXPECT_EQ(Problem("POST", path), "no route POST " + std::string(path));
  }
  const std::string longest(8000, '/');
  EXPECT_EQ(Problem("GET", longest), "no route GET " + longest.substr(0, 128) +
                                         "; did you mean /? Look for a doubled / or /v1 in the base URL of the client");
}

}  // namespace
}  // namespace hadal::http
