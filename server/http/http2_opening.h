// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/time/time.h"

namespace hadal::http {

// What the first frames of an HTTP/2 connection say about its first request. gRPC's library answers a request of
// another content type with 200 and nothing; its rules ask for 415, which is sent here, before the library has the
// connection.
struct Http2Opening {
  enum class Kind {
    kUndecided,  // the first request's headers are not there yet
    kGrpc,       // content type application/grpc, a client of gRPC's C core, more than kMaxOpeningBytes, or no HTTP/2
    kOther,      // a request that is not gRPC
  };
  Kind kind = Kind::kUndecided;
  uint32_t stream_id = 0;  // of kOther
  bool head = false;       // the request is HEAD
};

inline constexpr size_t kMaxOpeningBytes = 16 << 10;

// Reads the connection preface and the frames behind it, as far as they have arrived (RFC 9113).
Http2Opening InspectHttp2(std::string_view bytes);

// A server's whole side of such a connection: settings, 415 with an error object on the stream, GOAWAY.
std::string Http2Refusal(const Http2Opening& opening);

// Looks at the bytes in the socket without taking them, for a few milliseconds at most when they do not tell: many gRPC
// clients send no request before the server has spoken. kGrpc when the time is up.
boost::asio::awaitable<Http2Opening> PeekHttp2(boost::asio::generic::stream_protocol::socket& socket);
// Sends the refusal, and reads on until the client closes or the time is up, so that it sees the answer.
boost::asio::awaitable<void> RefuseHttp2(boost::asio::generic::stream_protocol::socket& socket, Http2Opening opening,
                                         absl::Duration linger_timeout);

}  // namespace hadal::http
