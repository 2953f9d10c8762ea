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
  TlsStream(asio::io_context* io, ssl::context* context, const Target& target) : stream_(*io, *context) {
    ErrorCode not_an_address;
    asio::ip::make_address(target.host, not_an_address);
    if (not_an_address) SSL_set_tlsext_host_name(stream_.native_handle(), target.host.c_str());
    if (!target.insecure) {
      stream_.set_verify_mode(ssl::verify_peer);
      stream_.set_verify_callback(ssl::host_name_verification(target.host));
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
  TlsFactory(asio::io_context* io, Target target)
      : io_(io), target_(std::move(target)), context_(ssl::context::tls_client) {}
  ErrorCode LoadCertificates() {
    ErrorCode error;
    if (target_.ca_file.empty()) {
      context_.set_default_verify_paths(error);
    } else {
      context_.load_verify_file(target_.ca_file, error);
    }
    return error;
  }
  std::unique_ptr<ByteStream> Make() override { return std::make_unique<TlsStream>(io_, &context_, target_); }

 private:
  asio::io_context* const io_;
  const Target target_;
  ssl::context context_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<StreamFactory>> TlsStreams(asio::io_context* io, const Target& target) {
  auto factory = std::make_unique<TlsFactory>(io, target);
  if (const ErrorCode error = factory->LoadCertificates(); error && !target.insecure) {
    const std::string whose =
        target.ca_file.empty() ? "the system's authorities" : absl::StrCat("--tls-ca ", target.ca_file);
    return absl::FailedPreconditionError(absl::StrCat("cannot read ", whose, ": ", error.message()));
  }
  return std::unique_ptr<StreamFactory>(std::move(factory));
}

}  // namespace hadal::bench
