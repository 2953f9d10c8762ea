// SPDX-License-Identifier: Apache-2.0
#include <sys/socket.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>
#include <cerrno>

#include "benchmarks/hadal_bench/client/byte_stream.h"

namespace hadal::bench {
namespace {

namespace asio = boost::asio;

class PlainStream final : public ByteStream {
 public:
  explicit PlainStream(asio::io_context* io) : socket_(*io) {}

  void Connect(const asio::ip::tcp::endpoint& endpoint, std::function<void(ErrorCode)> done) override {
    socket_.async_connect(endpoint, [this, done = std::move(done)](ErrorCode error) {
      ErrorCode ignored;
      if (!error) socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
      done(error);
    });
  }
  void ReadSome(char* data, size_t bytes, std::function<void(ErrorCode, size_t)> done) override {
    socket_.async_read_some(asio::buffer(data, bytes), std::move(done));
  }
  void Write(const char* data, size_t bytes, std::function<void(ErrorCode)> done) override {
    asio::async_write(socket_, asio::buffer(data, bytes),
                      [done = std::move(done)](ErrorCode error, size_t) { done(error); });
  }
  void Close() override {
    ErrorCode ignored;
    socket_.close(ignored);
  }
  bool IdleUsable() override { return SocketQuiet(socket_); }

 private:
  asio::ip::tcp::socket socket_;
};

class PlainFactory final : public StreamFactory {
 public:
  explicit PlainFactory(asio::io_context* io) : io_(io) {}
  std::unique_ptr<ByteStream> Make() override { return std::make_unique<PlainStream>(io_); }

 private:
  asio::io_context* const io_;
};

}  // namespace

bool SocketQuiet(asio::ip::tcp::socket& socket) {
  if (!socket.is_open()) return false;
  char byte;
  const ssize_t got = ::recv(socket.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

std::unique_ptr<StreamFactory> PlainStreams(asio::io_context* io) { return std::make_unique<PlainFactory>(io); }

}  // namespace hadal::bench
