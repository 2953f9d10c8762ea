// SPDX-License-Identifier: Apache-2.0
#include "tests/support/test_certificates.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "gtest/gtest.h"

namespace hadal::testing {
namespace {

std::string PemOf(const std::function<int(BIO*)>& write) {
  const tls::BioPtr bio(BIO_new(BIO_s_mem()));
  EXPECT_EQ(write(bio.get()), 1);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return {data, static_cast<size_t>(size)};
}

tls::KeyPtr NewKey() { return tls::KeyPtr(EVP_EC_gen("P-256")); }

void SetName(X509_NAME* target, const std::string& name) {
  X509_NAME_add_entry_by_txt(target, "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1,
                             0);
}

void Extend(X509* certificate, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

std::string MakeCertificate(const std::string& subject, EVP_PKEY* key, const std::string& issuer, EVP_PKEY* issuer_key,
                            bool authority, absl::Time begin, absl::Time end) {
  static long serial = 1;
  const tls::CertificatePtr certificate(X509_new());
  X509* const x509 = certificate.get();
  X509_set_version(x509, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(x509), ++serial);
  ASN1_TIME_set(X509_getm_notBefore(x509), absl::ToTimeT(begin));
  ASN1_TIME_set(X509_getm_notAfter(x509), absl::ToTimeT(end));
  SetName(X509_get_subject_name(x509), subject);
  SetName(X509_get_issuer_name(x509), issuer);
  X509_set_pubkey(x509, key);
  if (authority) {
    Extend(x509, NID_basic_constraints, "critical,CA:TRUE");
  } else {
    Extend(x509, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
  }
  EXPECT_GT(X509_sign(x509, issuer_key, EVP_sha256()), 0);
  return PemOf([&](BIO* bio) { return PEM_write_bio_X509(bio, x509); });
}

}  // namespace

TestAuthority::TestAuthority(const std::string& name)
    : name_(name),
      key_(NewKey()),
      certificate_(MakeCertificate(name, key_.get(), name, key_.get(), /*authority=*/true, absl::Now() - absl::Hours(1),
                                   absl::Now() + absl::Hours(24))) {}

TestCertificate TestAuthority::Sign(const std::string& name, absl::Time begin, absl::Time end) const {
  const tls::KeyPtr key = NewKey();
  return {MakeCertificate(name, key.get(), name_, key_.get(), /*authority=*/false, begin, end), PemOf([&](BIO* bio) {
            return PEM_write_bio_PrivateKey(bio, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
          })};
}

TestTlsFiles::TestTlsFiles() {
  std::string folder = ::testing::TempDir() + "/tls_XXXXXX";
  folder_ = ::mkdtemp(folder.data());
}

TestTlsFiles::~TestTlsFiles() { std::filesystem::remove_all(folder_); }

std::string TestTlsFiles::Write(const std::string& name, const std::string& text) const {
  const std::string path = folder_ + "/" + name;
  std::ofstream(path) << text;
  return path;
}

tls::TlsOptions TestTlsFiles::Options(const TestCertificate& certificate) const {
  tls::TlsOptions options;
  options.cert_file = Write("cert.pem", certificate.certificate);
  options.key_file = Write("key.pem", certificate.key);
  return options;
}

}  // namespace hadal::testing
