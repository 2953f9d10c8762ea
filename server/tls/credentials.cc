// SPDX-License-Identifier: Apache-2.0
#include "server/tls/credentials.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include <algorithm>
#include <ctime>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/read_file.h"

namespace hadal::tls {
namespace {

constexpr int64_t kMaxFileBytes = 1 << 20;
// Of a client's certificate chain.
constexpr int64_t kMaxClientChainBytes = 32 << 10;
// Forward secrecy and authenticated encryption; TLS 1.3 has nothing else.
constexpr char kTls12Ciphers[] = "ECDHE+AESGCM:ECDHE+CHACHA20";

// Its address marks a connection that prefers HTTP/2.
const char kHttp2First = 0;

absl::Status FileError(const char* flag, const std::string& file, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat("--", flag, ": ", file, " ", what));
}

// The library's reason for the last failure, as " (reason)"; empties its list of errors.
std::string LibraryReason() {
  const char* const reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  return reason == nullptr ? "" : absl::StrCat(" (", reason, ")");
}

absl::StatusOr<std::string> ReadPem(const char* flag, const std::string& file) {
  absl::StatusOr<std::string> text = base::ReadFile(file, kMaxFileBytes);
  if (!text.ok()) return absl::InvalidArgumentError(absl::StrCat("--", flag, ": ", text.status().message()));
  return text;
}

BioPtr MemoryBio(const std::string& text) {
  return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// The certificates of a PEM file, at least one.
absl::StatusOr<std::vector<CertificatePtr>> ReadCertificates(const char* flag, const std::string& file) {
  const absl::StatusOr<std::string> text = ReadPem(flag, file);
  if (!text.ok()) return text.status();
  const BioPtr bio = MemoryBio(*text);
  ERR_clear_error();
  std::vector<CertificatePtr> certificates;
  while (CertificatePtr next{PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)}) {
    certificates.push_back(std::move(next));
  }
  // The end of the file looks like a missing beginning.
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  if (!at_end) {
    return FileError(flag, file,
                     absl::StrCat("holds a certificate, number ", certificates.size() + 1, ", that cannot be read",
                                  LibraryReason()));
  }
  ERR_clear_error();
  if (certificates.empty()) return FileError(flag, file, "holds no certificate in PEM form");
  return certificates;
}

absl::Time TimeOf(const ASN1_TIME* time) {
  std::tm parts = {};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return absl::InfinitePast();
  return absl::FromTimeT(::timegm(&parts));
}

std::string DateText(absl::Time time) { return absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", time, absl::UTCTimeZone()); }

int SelectProtocol(SSL* ssl, const unsigned char** chosen, unsigned char* chosen_size, const unsigned char* offered,
                   unsigned int offered_size, void*) {
  // The library keeps a pointer into them.
  static constexpr unsigned char kHttp1Then2[] = "\x08http/1.1\x02h2";
  static constexpr unsigned char kHttp2Then1[] = "\x02h2\x08http/1.1";
  const unsigned char* const ours = SSL_get_app_data(ssl) == &kHttp2First ? kHttp2Then1 : kHttp1Then2;
  unsigned char* protocol = nullptr;
  const int found = SSL_select_next_proto(&protocol, chosen_size, ours, sizeof(kHttp1Then2) - 1, offered, offered_size);
  if (found != OPENSSL_NPN_NEGOTIATED) return SSL_TLSEXT_ERR_ALERT_FATAL;
  *chosen = protocol;
  return SSL_TLSEXT_ERR_OK;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Credentials>> Credentials::Load(const TlsOptions& options, absl::Time now) {
  std::shared_ptr<Credentials> loaded(new Credentials());
  loaded->context_.reset(SSL_CTX_new(TLS_server_method()));
  if (loaded->context_ == nullptr) return absl::InternalError(absl::StrCat("no TLS context", LibraryReason()));
  loaded->UseRules(options.min_version);
  if (absl::Status status = loaded->UseChain(options.cert_file, now); !status.ok()) return status;
  if (absl::Status status = loaded->UseKey(options); !status.ok()) return status;
  if (options.asks_for_certificates()) {
    if (absl::Status status = loaded->UseClientAuthorities(options.client_ca_file); !status.ok()) return status;
  }
  return loaded;
}

void Credentials::UseRules(Version min_version) {
  SSL_CTX* const context = context_.get();
  SSL_CTX_set_min_proto_version(context, min_version == Version::kTls13 ? TLS1_3_VERSION : TLS1_2_VERSION);
  SSL_CTX_set_cipher_list(context, kTls12Ciphers);
  // The end of the TCP stream is an end like any other: requests say themselves where they end.
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
  // Idle connections hold no buffers, and a write may be repeated from another place in memory.
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_read_ahead(context, 1);
  // Clients resume by tickets, which take no memory here.
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context, 1);
  SSL_CTX_set_max_cert_list(context, kMaxClientChainBytes);
  constexpr unsigned char kSessionContext[] = "hadal";
  SSL_CTX_set_session_id_context(context, kSessionContext, sizeof(kSessionContext) - 1);
  SSL_CTX_set_alpn_select_cb(context, SelectProtocol, nullptr);
}

absl::Status Credentials::UseChain(const std::string& file, absl::Time now) {
  absl::StatusOr<std::vector<CertificatePtr>> chain = ReadCertificates("tls-cert", file);
  if (!chain.ok()) return chain.status();
  for (size_t i = 0; i < chain->size(); ++i) {
    X509* const certificate = (*chain)[i].get();
    const absl::Time begin = TimeOf(X509_get0_notBefore(certificate));
    const absl::Time end = TimeOf(X509_get0_notAfter(certificate));
    expiry_ = std::min(expiry_, end);
    const std::string which = absl::StrCat("--tls-cert: certificate ", i + 1, " of ", file);
    if (end < now) warnings_.push_back(absl::StrCat(which, " has expired on ", DateText(end)));
    if (begin > now) warnings_.push_back(absl::StrCat(which, " is not valid before ", DateText(begin)));
    const bool used = i == 0 ? SSL_CTX_use_certificate(context_.get(), certificate) == 1
                             : SSL_CTX_add1_chain_cert(context_.get(), certificate) == 1;
    if (!used) {
      return FileError("tls-cert", file,
                       absl::StrCat("holds a certificate, number ", i + 1, ", that cannot be used", LibraryReason()));
    }
  }
  return absl::OkStatus();
}

absl::Status Credentials::UseKey(const TlsOptions& options) {
  const std::string& file = options.key_file;
  absl::StatusOr<std::string> text = ReadPem("tls-key", file);
  if (!text.ok()) return text.status();
  bool asked = false;  // for a passphrase
  const auto no_passphrase = [](char*, int, int, void* asked) {
    *static_cast<bool*>(asked) = true;
    return -1;
  };
  const KeyPtr key(PEM_read_bio_PrivateKey(MemoryBio(*text).get(), nullptr, no_passphrase, &asked));
  OPENSSL_cleanse(text->data(), text->size());
  if (asked) {
    ERR_clear_error();
    return FileError("tls-key", file, "is encrypted; the key must be stored without a passphrase");
  }
  if (key == nullptr) {
    ERR_clear_error();
    return FileError("tls-key", file, "holds no private key in PEM form");
  }
  if (X509_check_private_key(SSL_CTX_get0_certificate(context_.get()), key.get()) != 1) {
    ERR_clear_error();
    return FileError("tls-key", file, absl::StrCat("is not the key of the certificate in ", options.cert_file));
  }
  if (SSL_CTX_use_PrivateKey(context_.get(), key.get()) != 1) {
    return FileError("tls-key", file, absl::StrCat("cannot be used", LibraryReason()));
  }
  return absl::OkStatus();
}

absl::Status Credentials::UseClientAuthorities(const std::string& file) {
  absl::StatusOr<std::vector<CertificatePtr>> authorities = ReadCertificates("tls-client-ca", file);
  if (!authorities.ok()) return authorities.status();
  for (const CertificatePtr& authority : *authorities) {
    if (X509_STORE_add_cert(SSL_CTX_get_cert_store(context_.get()), authority.get()) != 1 ||
        SSL_CTX_add_client_CA(context_.get(), authority.get()) != 1) {
      return FileError("tls-client-ca", file, absl::StrCat("cannot be used", LibraryReason()));
    }
  }
  // One that is shown must be right. One that is missing is missed by the calls that need it: probes have none.
  SSL_CTX_set_verify(context_.get(), SSL_VERIFY_PEER, nullptr);
  asks_for_certificates_ = true;
  return absl::OkStatus();
}

SslPtr Credentials::NewConnection(int fd, bool http2_first) const {
  SslPtr ssl(SSL_new(context_.get()));
  if (ssl == nullptr || SSL_set_fd(ssl.get(), fd) != 1) return nullptr;
  if (http2_first) SSL_set_app_data(ssl.get(), const_cast<char*>(&kHttp2First));
  SSL_set_accept_state(ssl.get());
  return ssl;
}

}  // namespace hadal::tls
