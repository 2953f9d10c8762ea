// SPDX-License-Identifier: Apache-2.0
#include "server/http/protocol_sniffer.h"

#include <gtest/gtest.h>

#include <string>

namespace hadal::http {
namespace {

TEST(ProtocolSnifferTest, TellsTheProtocolFromTheFirstBytes) {
  EXPECT_EQ(PeekProtocol("PRI * HTTP/2.0\r\n"), Protocol::kHttp2);
  for (const char* reserved :
       {"GET /health/live HTTP/1.1", "GET /metrics HTTP/1.1", "HEAD /health", "HEAD /metrics?x"}) {
    EXPECT_EQ(PeekProtocol(reserved), Protocol::kReserved) << reserved;
  }
  for (const char* plain :
       {"POST /v1/chat/completions", "GET /v1/models", "PRI * HTTP/1.1", "get /health", "\x16\x02"}) {
    EXPECT_EQ(PeekProtocol(plain), Protocol::kHttp1) << plain;
  }
}

TEST(ProtocolSnifferTest, TellsTlsByItsFirstTwoBytes) {
  EXPECT_EQ(PeekProtocol("\x16"), Protocol::kUndecided);
  EXPECT_EQ(PeekProtocol("\x16\x03"), Protocol::kTls);
  EXPECT_EQ(PeekProtocol("\x16\x03\x01\x02"), Protocol::kTls);
}

TEST(ProtocolSnifferTest, WaitsOnlyWhileABeginningFits) {
  for (const std::string whole : {"PRI * HTTP/2.0", "GET /health", "HEAD /metrics"}) {
    ASSERT_LE(whole.size(), kPeekBytes);
    for (size_t size = 0; size < whole.size(); ++size) {
      EXPECT_EQ(PeekProtocol(whole.substr(0, size)), Protocol::kUndecided) << whole << " cut to " << size;
    }
    EXPECT_NE(PeekProtocol(whole), Protocol::kUndecided) << whole;
  }
  EXPECT_EQ(PeekProtocol("GEX"), Protocol::kHttp1);
}

}  // namespace
}  // namespace hadal::http
