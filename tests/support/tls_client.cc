// SPDX-License-Identifier: Apache-2.0
#include "tests/support/tls_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <csignal>

#include "gtest/gtest.h"

namespace hadal::testing {
namespace {

tls::BioPtr BioOf(const std::string& text) {
  return tls::BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

tls::CertificatePtr ParseCertificate(const std::string& text) {
  return tls::CertificatePtr(PEM_read_bio_X509(BioOf(text).get(), nullptr, nullptr, nullptr));
}

}  // namespace

TlsClient::TlsClient(int fd, const Options& options) : fd_(fd), context_(SSL_CTX_new(TLS_client_method())) {
  std::signal(SIGPIPE, SIG_IGN);
  const timeval limit{10, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
  SSL_CTX* const context = context_.get();
  SSL_CTX_set_security_level(context, 0);  // so that old versions can be tried at all
  if (!options.authority.empty()) {
    X509_STORE_add_cert(SSL_CTX_get_cert_store(context), ParseCertificate(options.authority).get());
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  }
  if (!options.certificate.certificate.empty()) {
    SSL_CTX_use_certificate(context, ParseCertificate(options.certificate.certificate).get());
    const tls::KeyPtr key(PEM_read_bio_PrivateKey(BioOf(options.certificate.key).get(), nullptr, nullptr, nullptr));
    SSL_CTX_use_PrivateKey(context, key.get());
  }
  SSL_CTX_set_min_proto_version(context, options.min_version);
  SSL_CTX_set_max_proto_version(context, options.max_version);
  std::string protocols;
  for (const std::string& protocol : options.protocols) {
    protocols += static_cast<char>(protocol.size()) + protocol;
  }
  if (!protocols.empty()) {
    SSL_CTX_set_alpn_protos(context, reinterpret_cast<const unsigned char*>(protocols.data()),
                            static_cast<unsigned>(protocols.size()));
  }
  ssl_.reset(SSL_new(context));
  SSL_set_fd(ssl_.get(), fd);
  SSL_set_tlsext_host_name(ssl_.get(), "localhost");
}

int TlsClient::Connect(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  return fd;
}

TlsClient::~TlsClient() { ::close(fd_); }

bool TlsClient::Handshake() {
  ERR_clear_error();
  if (SSL_connect(ssl_.get()) == 1) return true;
  const char* const reason = ERR_reason_error_string(ERR_peek_error());
  error_ = reason == nullptr ? "closed" : reason;
  return false;
}

std::string TlsClient::protocol() const {
  const unsigned char* name = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl_.get(), &name, &size);
  return {reinterpret_cast<const char*>(name), size};
}

std::string TlsClient::version() const { return SSL_get_version(ssl_.get()); }

std::string TlsClient::server_name() const {
  char name[256] = "";
  X509_NAME_get_text_by_NID(X509_get_subject_name(SSL_get0_peer_certificate(ssl_.get())), NID_commonName, name,
                            sizeof(name));
  return name;
}

bool TlsClient::Send(std::string_view bytes) {
  ERR_clear_error();
  return SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size())) == static_cast<int>(bytes.size());
}

std::string TlsClient::Read(size_t limit) {
  ERR_clear_error();
  std::string bytes(limit, '\0');
  const int size = SSL_read(ssl_.get(), bytes.data(), static_cast<int>(limit));
  if (size <= 0) {
    const char* const reason = ERR_reason_error_string(ERR_peek_error());
    error_ = reason == nullptr ? "closed" : reason;
  }
  bytes.resize(size > 0 ? static_cast<size_t>(size) : 0);
  return bytes;
}

std::string TlsClient::ReadUntil(std::string_view text) {
  std::string all;
  while (all.find(text) == std::string::npos) {
    const std::string more = Read();
    if (more.empty()) break;
    all += more;
  }
  return all;
}

std::string TlsClient::ReadAll() {
  std::string all;
  for (std::string more = Read(); !more.empty(); more = Read()) all += more;
  return all;
}

void TlsClient::SendEnd() {
  SSL_shutdown(ssl_.get());
  ::shutdown(fd_, SHUT_WR);
}

bool TlsClient::ended_well() const { return (SSL_get_shutdown(ssl_.get()) & SSL_RECEIVED_SHUTDOWN) != 0; }

}  // namespace hadal::testing
