// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>

#include "benchmarks/hadal_bench/client/byte_stream.h"
#include "benchmarks/hadal_bench/client/response_parser.h"

namespace hadal::bench {

// Told how one exchange went; OnSent before the first byte is written, OnExchangeEnd last and once.
class ExchangeHandler : public ResponseSink {
 public:
  virtual void OnSent() = 0;
  // `reason` is empty for a complete response, else "connect", "connection_lost", "bad_response" or Abort's reason.
  virtual void OnExchangeEnd(std::string_view reason, std::string_view message) = 0;
};

// One connection and the exchanges on it, one after the other. Runs on its io_context's thread. Shared by its owner and
// by the operations on their way.
class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  HttpConnection(std::unique_ptr<ByteStream> stream, boost::asio::ip::tcp::endpoint endpoint)
      : stream_(std::move(stream)), endpoint_(std::move(endpoint)) {}

  // Connects if need be, writes `request` and reads the response. The handler must live until OnExchangeEnd.
  void Exchange(std::string request, ExchangeHandler* handler);
  // Ends the exchange at once with this reason and closes the connection.
  void Abort(std::string_view reason, std::string_view message);
  // Whether another exchange may begin here.
  bool reusable() { return connected_ && handler_ == nullptr && stream_->IdleUsable(); }

 private:
  void WriteRequest();
  void ReadMore();
  void OnRead(ErrorCode error, size_t bytes);
  void End(std::string_view reason, std::string_view message);

  const std::unique_ptr<ByteStream> stream_;
  const boost::asio::ip::tcp::endpoint endpoint_;
  bool connected_ = false;
  bool writing_ = false;                // request_ is in use
  ExchangeHandler* handler_ = nullptr;  // of the exchange on its way
  std::unique_ptr<ResponseParser> parser_;
  std::string request_;
  std::array<char, 16 << 10> buffer_;
};

}  // namespace hadal::bench
