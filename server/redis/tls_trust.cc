// SPDX-License-Identifier: Apache-2.0
#include "server/redis/tls_trust.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "absl/strings/str_cat.h"
#include "base/read_file.h"

namespace hadal::redis {
namespace {

constexpr int64_t kMaxCaBytes = int64_t{16} << 20;

bool IsAddress(const std::string& host) {
  unsigned char bytes[sizeof(in6_addr)];
  return ::inet_pton(AF_INET, host.c_str(), bytes) == 1 || ::inet_pton(AF_INET6, host.c_str(), bytes) == 1;
}

}  // namespace

std::string TlsReason(const char* otherwise) {
  const unsigned long error = ERR_peek_error();
  const char* const reason = error == 0 ? nullptr : ERR_reason_error_string(error);
  ERR_clear_error();
  return reason == nullptr ? otherwise : reason;
}

absl::StatusOr<std::shared_ptr<const TlsTrust>> TlsTrust::Load(const std::string& ca_file) {
  std::shared_ptr<TlsTrust> trust(new TlsTrust());
  trust->context_.reset(SSL_CTX_new(TLS_client_method()));
  SSL_CTX* const context = trust->context_.get();
  if (context == nullptr) return absl::InternalError(absl::StrCat("no TLS context: ", TlsReason("no memory")));
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  if (ca_file.empty()) {
    SSL_CTX_set_default_verify_paths(context);
    return trust;
  }
  // Read once before, so that a file that is none is not waited for.
  if (absl::Status read = base::ReadFile(ca_file, kMaxCaBytes).status(); !read.ok()) {
    return absl::InvalidArgumentError(read.message());
  }
  ERR_clear_error();
  if (SSL_CTX_load_verify_locations(context, ca_file.c_str(), nullptr) != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(ca_file, " holds no certificate in PEM form: ", TlsReason("it cannot be read")));
  }
  return trust;
}

absl::StatusOr<tls::SslPtr> TlsTrust::Connect(int fd, const std::string& host) const {
  ERR_clear_error();
  tls::SslPtr ssl(SSL_new(context_.get()));
  if (ssl == nullptr || SSL_set_fd(ssl.get(), fd) != 1) return absl::UnavailableError(TlsReason("no memory for TLS"));
  X509_VERIFY_PARAM* const checks = SSL_get0_param(ssl.get());
  const bool named = IsAddress(host) ? X509_VERIFY_PARAM_set1_ip_asc(checks, host.c_str()) == 1
                                     : SSL_set1_host(ssl.get(), host.c_str()) == 1 &&
                                           SSL_set_tlsext_host_name(ssl.get(), host.c_str()) == 1;
  if (!named) return absl::UnavailableError(TlsReason("the host's name cannot be checked"));
  if (SSL_connect(ssl.get()) == 1) return ssl;
  const long verdict = SSL_get_verify_result(ssl.get());
  if (verdict != X509_V_OK) {
    ERR_clear_error();
    return absl::UnavailableError(
        absl::StrCat("its certificate is not believed: ", X509_verify_cert_error_string(verdict)));
  }
  return absl::UnavailableError(absl::StrCat("no TLS: ", TlsReason("it closed the connection or was too slow")));
}

}  // namespace hadal::redis
