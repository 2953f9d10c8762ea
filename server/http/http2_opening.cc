// SPDX-License-Identifier: Apache-2.0
#include "server/http/http2_opening.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <chrono>
#include <memory>
#include <vector>

#include "server/http/await.h"
#include "server/http/codec/response.h"
#include "server/request/refusal.h"

namespace hadal::http {
namespace {

namespace asio = boost::asio;
using Socket = asio::generic::stream_protocol::socket;
using Kind = Http2Opening::Kind;

// How long to look for the first request. Clients that do not wait for the server send it right behind the preface.
constexpr auto kPeekTime = std::chrono::milliseconds(25);
constexpr auto kPeekPause = std::chrono::milliseconds(1);

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr size_t kFrameHeadBytes = 9;
constexpr uint8_t kData = 0, kHeaders = 1, kSettings = 4, kGoAway = 7;
constexpr uint8_t kEndStream = 0x1, kAck = 0x1, kEndHeaders = 0x4, kPadded = 0x8, kHasPriority = 0x20;
// A setting that only gRPC's C core sends (GRPC_ALLOW_TRUE_BINARY_METADATA).
constexpr uint32_t kGrpcCoreSetting = 0xfe03;

// The value as HPACK may write it: plain, and in its Huffman code, which ends on a whole byte. Being the connection's
// first header block, it cannot refer to an earlier one.
constexpr std::string_view kGrpcType = "application/grpc";
constexpr std::string_view kGrpcTypeHuffman = "\x1d\x75\xd0\x62\x0d\x26\x3d\x4c\x4d\x65\x64";
// The method, whose response has no body, likewise.
constexpr std::string_view kHead = "\x04HEAD";
constexpr std::string_view kHeadHuffman = "\x84\xc7\x82\x1b\xff";

uint32_t Number(std::string_view bytes, size_t at, size_t size) {
  uint32_t value = 0;
  for (size_t i = 0; i < size; ++i) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
  return value;
}

bool HasGrpcCoreSetting(std::string_view settings) {
  for (size_t at = 0; at + 6 <= settings.size(); at += 6) {
    if (Number(settings, at, 2) == kGrpcCoreSetting) return true;
  }
  return false;
}

void AppendNumber(uint32_t value, size_t size, std::string* out) {
  while (size-- > 0) out->push_back(static_cast<char>(value >> (8 * size)));
}

void AppendFrame(uint8_t type, uint8_t flags, uint32_t stream_id, std::string_view payload, std::string* out) {
  AppendNumber(static_cast<uint32_t>(payload.size()), 3, out);
  AppendNumber(type, 1, out);
  AppendNumber(flags, 1, out);
  AppendNumber(stream_id, 4, out);
  out->append(payload);
}

// A field without compression. Texts have fewer than 127 bytes.
void AppendField(std::string_view name, std::string_view value, std::string* out) {
  out->push_back('\0');
  out->push_back(static_cast<char>(name.size()));
  out->append(name);
  out->push_back(static_cast<char>(value.size()));
  out->append(value);
}

}  // namespace

Http2Opening InspectHttp2(std::string_view bytes) {
  const size_t known = std::min(bytes.size(), kPreface.size());
  if (bytes.substr(0, known) != kPreface.substr(0, known)) return {Kind::kGrpc};
  size_t at = kPreface.size();
  while (at + kFrameHeadBytes <= bytes.size()) {
    const size_t size = Number(bytes, at, 3);
    const auto type = static_cast<uint8_t>(bytes[at + 3]);
    const auto flags = static_cast<uint8_t>(bytes[at + 4]);
    const uint32_t stream_id = Number(bytes, at + 5, 4) & 0x7fffffff;
    at += kFrameHeadBytes;
    if (at + size > kMaxOpeningBytes) return {Kind::kGrpc};
    if (at + size > bytes.size()) break;
    std::string_view payload = bytes.substr(at, size);
    at += size;
    if (type == kSettings && HasGrpcCoreSetting(payload)) return {Kind::kGrpc};
    if (type != kHeaders) continue;
    // Header blocks over several frames, and broken frames, are for the library to judge.
    if ((flags & kEndHeaders) == 0) return {Kind::kGrpc};
    const size_t front = ((flags & kPadded) != 0 ? 1 : 0) + ((flags & kHasPriority) != 0 ? 5 : 0);
    if (payload.size() < front) return {Kind::kGrpc};
    payload.remove_prefix(front);
    const auto has = [&](std::string_view text) { return payload.find(text) != std::string_view::npos; };
    if (has(kGrpcType) || has(kGrpcTypeHuffman)) return {Kind::kGrpc};
    return {Kind::kOther, stream_id, has(kHead) || has(kHeadHuffman)};
  }
  return {bytes.size() < kMaxOpeningBytes ? Kind::kUndecided : Kind::kGrpc};
}

std::string Http2Refusal(const Http2Opening& opening) {
  const absl::Status status = request::MakeError(
      request::Reason::kUnsupportedMediaType,
      "HTTP/2 is for gRPC here, with a content-type that begins with application/grpc; the JSON API is HTTP/1.1");
  const Response response = ErrorResponse(status, /*overload_http_status=*/503);
  std::string block;
  AppendField(":status", std::to_string(response.status), &block);
  AppendField("content-type", response.content_type, &block);
  AppendField("x-hadal-reason", request::ReasonName(request::Reason::kUnsupportedMediaType), &block);

  std::string out;
  AppendFrame(kSettings, 0, 0, {}, &out);
  AppendFrame(kSettings, kAck, 0, {}, &out);
  AppendFrame(kHeaders, kEndHeaders | (opening.head ? kEndStream : 0), opening.stream_id, block, &out);
  if (!opening.head) AppendFrame(kData, kEndStream, opening.stream_id, response.body, &out);
  std::string goaway;
  AppendNumber(opening.stream_id, 4, &goaway);
  AppendNumber(0, 4, &goaway);  // no error
  AppendFrame(kGoAway, 0, 0, goaway, &out);
  return out;
}

asio::awaitable<Http2Opening> PeekHttp2(Socket& socket) {
  std::vector<char> bytes(kMaxOpeningBytes);
  asio::steady_timer pause(socket.get_executor());
  const auto end = std::chrono::steady_clock::now() + kPeekTime;
  while (socket.is_open()) {
    const ssize_t size = ::recv(socket.native_handle(), bytes.data(), bytes.size(), MSG_PEEK | MSG_DONTWAIT);
    if (size == 0 || (size < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) break;
    const Http2Opening opening = InspectHttp2({bytes.data(), static_cast<size_t>(std::max<ssize_t>(size, 0))});
    if (opening.kind != Kind::kUndecided) co_return opening;
    if (std::chrono::steady_clock::now() >= end) break;
    // Readiness says nothing while bytes are left in the socket.
    pause.expires_after(kPeekPause);
    co_await pause.async_wait(kAwait);
  }
  co_return Http2Opening{Kind::kGrpc};
}

asio::awaitable<void> RefuseHttp2(Socket& socket, Http2Opening opening, absl::Duration linger_timeout) {
  const std::string refusal = Http2Refusal(opening);
  // Fits into the send buffer of a connection that has sent nothing yet.
  (void)::send(socket.native_handle(), refusal.data(), refusal.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  boost::system::error_code ignored;
  socket.shutdown(Socket::shutdown_send, ignored);
  asio::steady_timer limit(socket.get_executor(), absl::ToChronoMicroseconds(linger_timeout));
  const auto waiting = std::make_shared<bool>(true);
  limit.async_wait([&socket, waiting](const boost::system::error_code& error) {
    boost::system::error_code none;
    if (!error && *waiting) socket.close(none);
  });
  std::array<char, 4096> rest;
  while (socket.is_open()) {
    auto [error, size] = co_await socket.async_read_some(asio::buffer(rest), kAwait);
    if (error) break;
  }
  *waiting = false;
}

}  // namespace hadal::http
