// SPDX-License-Identifier: Apache-2.0
#include "server/http/http2_opening.h"

#include <fcntl.h>

#include <atomic>

#include "gtest/gtest.h"
#include "tests/server/http/http_fixture.h"

namespace hadal::http {
namespace {

using hadal::testing::HttpFixture;
using hadal::testing::RawHttpClient;
using hadal::testing::ServiceFixture;
using Kind = Http2Opening::Kind;

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr char kEndHeaders = 4;

std::string Frame(char type, char flags, char stream_id, std::string_view payload) {
  std::string frame = {
      0, static_cast<char>(payload.size() >> 8), static_cast<char>(payload.size()), type, flags, 0, 0, 0, stream_id};
  return frame.append(payload);
}

std::string Settings(std::string_view payload = "") { return Frame(4, 0, 0, payload); }
// GET http /, authority "x", and the content type as a plain literal.
std::string Block(std::string_view content_type) {
  std::string block = "\x82\x86\x84\x41\x01x";
  if (content_type.empty()) return block;
  block.append("\x0f\x10", 2).push_back(static_cast<char>(content_type.size()));
  return block.append(content_type);
}

TEST(Http2OpeningTest, TellsGrpcFromTheRest) {
  const std::string start = std::string(kPreface) + Settings();
  const auto kind = [](const std::string& bytes) { return InspectHttp2(bytes).kind; };
  EXPECT_EQ(kind(start), Kind::kUndecided);
  EXPECT_EQ(kind(start + Frame(1, kEndHeaders, 1, Block("application/grpc"))), Kind::kGrpc);
  EXPECT_EQ(kind(start + Frame(1, kEndHeaders, 1, Block("application/grpc+proto"))), Kind::kGrpc);
  EXPECT_EQ(kind(start + Frame(1, kEndHeaders, 1, Block("application/json"))), Kind::kOther);
  EXPECT_EQ(kind(start + Frame(1, kEndHeaders, 1, Block(""))), Kind::kOther);
  EXPECT_EQ(InspectHttp2(start + Frame(8, 0, 0, "\0\0\1\0") + Frame(1, kEndHeaders, 5, Block(""))).stream_id, 5u);
  // Huffman coded, as most clients write it.
  const std::string huffman = Block("") + "\x5f\x8b\x1d\x75\xd0\x62\x0d\x26\x3d\x4c\x4d\x65\x64";
  EXPECT_EQ(kind(start + Frame(1, kEndHeaders, 1, huffman)), Kind::kGrpc);
  // gRPC's C core says so before any request.
  EXPECT_EQ(kind(std::string(kPreface) + Settings({"\xfe\x03\0\0\0\1", 6})), Kind::kGrpc);
  EXPECT_EQ(kind(std::string(kPreface) + Settings({"\0\3\0\0\0\1", 6})), Kind::kUndecided);
}

TEST(Http2OpeningTest, AResponseToHeadHasNoBody) {
  const auto opening = [](std::string_view method) {
    const std::string block = std::string("\x86\x84\x41\x01x") + "\x42" + std::string(method);
    return InspectHttp2(std::string(kPreface) + Settings() + Frame(1, kEndHeaders | 1, 1, block));
  };
  for (const char* head : {"\x04HEAD", "\x84\xc7\x82\x1b\xff"}) {
    EXPECT_EQ(opening(head).kind, Kind::kOther);
    EXPECT_TRUE(opening(head).head);
    EXPECT_EQ(Http2Refusal(opening(head)).find("error"), std::string::npos);
  }
  EXPECT_FALSE(opening("\x03PUT").head);
  EXPECT_NE(Http2Refusal(opening("\x03PUT")).find("error"), std::string::npos);
}

TEST(Http2OpeningTest, WhatIsNoHttp2IsLeftToTheLibrary) {
  EXPECT_EQ(InspectHttp2("GET /v1/models HTTP/1.1\r\nHost: t\r\n\r\n").kind, Kind::kGrpc);
  EXPECT_EQ(InspectHttp2("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").kind, Kind::kGrpc);
  EXPECT_EQ(InspectHttp2("PRI * HT").kind, Kind::kUndecided);
  EXPECT_EQ(InspectHttp2("").kind, Kind::kUndecided);
}

TEST(Http2OpeningTest, LeavesWhatItCannotJudgeToTheLibrary) {
  const std::string start = std::string(kPreface) + Settings();
  EXPECT_EQ(InspectHttp2(start + Frame(1, 0, 1, Block("x"))).kind, Kind::kGrpc);  // goes on in another frame
  EXPECT_EQ(InspectHttp2(start + Frame(1, kEndHeaders | 0x20, 1, "abc")).kind, Kind::kGrpc);  // shorter than its parts
  EXPECT_EQ(InspectHttp2(start + std::string("\x7f\xff\xff\0\0\0\0\0\0", 9)).kind, Kind::kGrpc);
  // Any cut of a request is undecided, never something else.
  const std::string whole = start + Frame(1, kEndHeaders, 1, Block("application/json"));
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_EQ(InspectHttp2(whole.substr(0, size)).kind, Kind::kUndecided) << size;
  }
}

TEST(Http2OpeningTest, OtherRequestsGet415AndGrpcIsHandedOver) {
  std::atomic<int> adopted{0};
  HttpFixture::Options options;
  options.adopt_http2 = [&](int fd, const base::Peer&) {
    adopted.fetch_add(1);
    ::close(fd);
  };
  HttpFixture fixture(ServiceFixture::Says("x"), options);
  RawHttpClient json(fixture.port());
  json.Send(std::string(kPreface) + Settings());
  json.Send(Frame(1, kEndHeaders, 1, Block("application/json")));
  EXPECT_TRUE(json.WaitFor("UNSUPPORTED_MEDIA_TYPE\"}}"));
  EXPECT_NE(json.buffer().find(std::string("\x07:status\x03") + "415"), std::string::npos);
  EXPECT_TRUE(json.WaitClosed());
  EXPECT_EQ(adopted.load(), 0);

  RawHttpClient grpc(fixture.port());
  grpc.Send(std::string(kPreface) + Settings());
  grpc.Send(Frame(1, kEndHeaders, 1, Block("application/grpc")));
  EXPECT_TRUE(fixture.WaitFor([&] { return adopted.load() == 1; }));
  // A client that waits for the server to speak is handed over without a request.
  RawHttpClient waiting(fixture.port());
  waiting.Send(std::string(kPreface) + Settings());
  EXPECT_TRUE(fixture.WaitFor([&] { return adopted.load() == 2; }));
  json.Close();
  EXPECT_TRUE(fixture.WaitFor([&] { return fixture.server->open_connections() == 0; }));
}

}  // namespace
}  // namespace hadal::http
