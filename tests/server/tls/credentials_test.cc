// SPDX-License-Identifier: Apache-2.0
#include "server/tls/credentials.h"

#include <openssl/pem.h>

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/test_certificates.h"

namespace hadal::tls {
namespace {

using ::hadal::testing::TestAuthority;
using ::hadal::testing::TestCertificate;
using ::hadal::testing::TestTlsFiles;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class CredentialsTest : public ::testing::Test {
 protected:
  std::string Error(const TlsOptions& options) const {
    const auto loaded = Credentials::Load(options, absl::Now());
    EXPECT_TRUE(absl::IsInvalidArgument(loaded.status()));
    return std::string(loaded.status().message());
  }

  const TestAuthority authority_;
  const TestCertificate certificate_ = authority_.Sign("one");
  const TestTlsFiles files_;
  TlsOptions options_ = files_.Options(certificate_);
};

TEST_F(CredentialsTest, LoadsAChainAndTellsItsFirstExpiry) {
  const absl::Time end = absl::FromUnixSeconds(absl::ToUnixSeconds(absl::Now() + absl::Hours(2)));
  const TestCertificate leaf = authority_.Sign("leaf", absl::Now() - absl::Hours(1), end);
  options_ = files_.Options({leaf.certificate + authority_.certificate(), leaf.key});
  const auto loaded = Credentials::Load(options_, absl::Now());
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ((*loaded)->expiry(), end);
  EXPECT_THAT((*loaded)->warnings(), IsEmpty());
  EXPECT_FALSE((*loaded)->asks_for_certificates());
}

TEST_F(CredentialsTest, AMissingFileIsNamed) {
  options_.cert_file += ".gone";
  EXPECT_THAT(Error(options_), ::testing::AllOf(HasSubstr("--tls-cert: "), HasSubstr("cert.pem.gone")));
}

TEST_F(CredentialsTest, TextWithoutACertificateIsRefused) {
  options_.cert_file = files_.Write("text.pem", "hello");
  EXPECT_EQ(Error(options_), "--tls-cert: " + options_.cert_file + " holds no certificate in PEM form");
}

TEST_F(CredentialsTest, ABrokenCertificateOfTheChainIsCounted) {
  std::string broken = authority_.certificate();
  broken.replace(broken.size() / 2, 4, "????");
  options_.cert_file = files_.Write("broken.pem", certificate_.certificate + broken);
  EXPECT_THAT(Error(options_), HasSubstr("holds a certificate, number 2, that cannot be read"));
}

TEST_F(CredentialsTest, AnotherCertificatesKeyIsRefused) {
  options_.key_file = files_.Write("other.pem", authority_.Sign("two").key);
  EXPECT_EQ(Error(options_),
            "--tls-key: " + options_.key_file + " is not the key of the certificate in " + options_.cert_file);
}

TEST_F(CredentialsTest, AnEncryptedKeyIsRefused) {
  const BioPtr plain(BIO_new_mem_buf(certificate_.key.data(), static_cast<int>(certificate_.key.size())));
  const KeyPtr key(PEM_read_bio_PrivateKey(plain.get(), nullptr, nullptr, nullptr));
  const BioPtr encrypted(BIO_new(BIO_s_mem()));
  char secret[] = "secret";
  ASSERT_EQ(PEM_write_bio_PKCS8PrivateKey(encrypted.get(), key.get(), EVP_aes_128_cbc(), secret, 6, nullptr, nullptr),
            1);
  char* data = nullptr;
  const long size = BIO_get_mem_data(encrypted.get(), &data);
  options_.key_file = files_.Write("encrypted.pem", {data, static_cast<size_t>(size)});
  EXPECT_EQ(Error(options_),
            "--tls-key: " + options_.key_file + " is encrypted; the key must be stored without a passphrase");
}

TEST_F(CredentialsTest, AFileWithoutAKeyIsRefused) {
  options_.key_file = options_.cert_file;
  EXPECT_EQ(Error(options_), "--tls-key: " + options_.key_file + " holds no private key in PEM form");
}

TEST_F(CredentialsTest, ClientAuthoritiesMustBeCertificates) {
  options_.client_ca_file = options_.key_file;
  EXPECT_EQ(Error(options_), "--tls-client-ca: " + options_.key_file + " holds no certificate in PEM form");
  options_.client_ca_file = files_.Write("ca.pem", authority_.certificate());
  EXPECT_TRUE(Credentials::Load(options_, absl::Now()).value()->asks_for_certificates());
}

TEST_F(CredentialsTest, CertificatesOutOfTheirTimeAreServedWithAWarning) {
  const absl::Time end = absl::FromCivil(absl::CivilSecond(2020, 2, 3, 4, 5, 6), absl::UTCTimeZone());
  options_ = files_.Options(authority_.Sign("old", end - absl::Hours(9), end));
  EXPECT_THAT(
      Credentials::Load(options_, absl::Now()).value()->warnings(),
      ElementsAre("--tls-cert: certificate 1 of " + options_.cert_file + " has expired on 2020-02-03 04:05:06 UTC"));
  EXPECT_THAT(Credentials::Load(options_, end - absl::Hours(10)).value()->warnings(),
              ElementsAre("--tls-cert: certificate 1 of " + options_.cert_file +
                          " is not valid before 2020-02-02 19:05:06 UTC"));
}

TEST_F(CredentialsTest, NothingOfTheKeyIsInAMessage) {
  std::string broken = certificate_.key;
  const std::string secret = broken.substr(broken.size() / 2, 16);
  broken.insert(broken.size() / 3, "?");
  options_.key_file = files_.Write("broken.pem", broken);
  EXPECT_THAT(Error(options_), ::testing::Not(HasSubstr(secret)));
}

}  // namespace
}  // namespace hadal::tls
