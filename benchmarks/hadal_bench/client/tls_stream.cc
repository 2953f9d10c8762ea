// SPDX-License-Identifier: Apache-2.0
#include <boost/asio/buffer.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/write.hpp>

#include "absl/strings/str_cat.h"
#include "benchmarks/hadal_bench/client/byte_stream.h"

namespace hadal::bench {
namespace {

namespace asio = boost::asio;
namespace ssl = boost::asio::ssl;

class TlsStream final : public ByteStream {
 public:
  TlsStream(asio::io_context* io, ssl::context* context, const std::string& host, bool insecure)
      : stream_(*io, *context) {
    SSL_set_tlsext_host_name(stream_.native_handle(), host.c_str());
    if (!insecure) {
      stream_.set_verify_mode(ssl::verify_peer);
      stream_.set_verify_callback(ssl::host_name_verification(host));
    }
  }

  void Connect(const asio::ip::tcp::endpoint& endpoint, std::function<void(ErrorCode)> done) override {
    stream_.next_layer().async_connect(endpoint, [this, done = std::move(done)](ErrorCode error) {
      if (error) return done(error);
      ErrorCode ignored;
      stream_.next_layer().set_option(asio::ip::tcp::no_delay(true), ignored);
      stream_.async_handshake(ssl::stream_base::client, done);
    });
  }
  void ReadSome(char* data, size_t bytes, std::function<void(ErrorCode, size_t)> done) override {
    stream_.async_read_some(asio::buffer(data, bytes), std::move(done));
  }
  void Write(const char* data, size_t bytes, std::function<void(ErrorCode)> done) override {
    asio::async_write(stream_, asio::buffer(data, bytes),
                      [done = std::move(done)](ErrorCode error, size_t) { done(error); });
  }
  void Close() override {
    ErrorCode ignored;
    stream_.next_layer().close(ignored);
  }
  // Unread bytes may be session tickets, but they may also be the end: such a connection is not used again.
  bool IdleUsable() override { return SocketQuiet(stream_.next_layer()); }

 private:
  ssl::stream<asio::ip::tcp::socket> stream_;
};

class TlsFactory final : public StreamFactory {
 public:
  TlsFactory(asio::io_context* io, std::string host, bool insecure)
      : io_(io), host_(std::move(host)), insecure_(insecure), context_(ssl::context::tls_client) {}
  ErrorCode LoadCertificates() {
    ErrorCode error;
    context_.set_default_verify_paths(error);
    return error;
  }
  std::unique_ptr<ByteStream> Make() override { return std::make_unique<TlsStream>(io_, &context_, host_, insecure_); }

 private:
  asio::io_context* const io_;
  const std::string host_;
  const bool insecure_;
  ssl::context context_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<StreamFactory>> TlsStreams(asio::io_context* io, std::string host, bool insecure) {
  auto factory = std::make_unique<TlsFactory>(io, std::move(host), insecure);
  if (const ErrorCode error = factory->LoadCertificates(); error && !insecure) {
    return absl::FailedPreconditionError(absl::StrCat("cannot read the system's certificates: ", error.message()));
  }
  return std::unique_ptr<StreamFactory>(std::move(factory));
}

}  // namespace hadal::bench
