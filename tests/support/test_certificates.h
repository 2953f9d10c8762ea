// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/tls/openssl_ptr.h"
#include "server/tls/tls_options.h"

namespace hadal::testing {

// PEM texts.
struct TestCertificate {
  std::string certificate;
  std::string key;
};

// An authority that signs certificates for localhost and 127.0.0.1, made anew in each process. P-256 keys.
class TestAuthority {
 public:
  explicit TestAuthority(const std::string& name = "test authority");

  TestCertificate Sign(const std::string& name, absl::Time begin = absl::Now() - absl::Hours(1),
                       absl::Time end = absl::Now() + absl::Hours(24)) const;
  const std::string& certificate() const { return certificate_; }

 private:
  std::string name_;
  tls::KeyPtr key_;
  std::string certificate_;
};

// A folder of PEM files, removed at the end.
class TestTlsFiles {
 public:
  TestTlsFiles();
  ~TestTlsFiles();
  TestTlsFiles(const TestTlsFiles&) = delete;
  TestTlsFiles& operator=(const TestTlsFiles&) = delete;

  // Path of a file with that content.
  std::string Write(const std::string& name, const std::string& text) const;
  // Options with this certificate in cert.pem and key.pem, which are replaced when they exist.
  tls::TlsOptions Options(const TestCertificate& certificate) const;

 private:
  std::string folder_;
};

}  // namespace hadal::testing
