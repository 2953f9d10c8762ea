// SPDX-License-Identifier: Apache-2.0
#include "server/tls/handshake.h"

#include <openssl/err.h>
#include <openssl/sslerr.h>

#include "gtest/gtest.h"

namespace hadal::tls {
namespace {

TEST(HandshakeTest, TellsTheReasonOfAFailure) {
  const auto failure = [](int reason) { return FailureOf(ERR_PACK(ERR_LIB_SSL, 0, reason)); };
  EXPECT_EQ(FailureOf(0), HandshakeFailure::kClosed);
  EXPECT_EQ(failure(SSL_R_UNEXPECTED_EOF_WHILE_READING), HandshakeFailure::kClosed);
  EXPECT_EQ(failure(SSL_R_UNSUPPORTED_PROTOCOL), HandshakeFailure::kVersion);
  EXPECT_EQ(failure(SSL_R_NO_SHARED_CIPHER), HandshakeFailure::kCipher);
  EXPECT_EQ(failure(SSL_R_NO_APPLICATION_PROTOCOL), HandshakeFailure::kProtocol);
  EXPECT_EQ(failure(SSL_R_CERTIFICATE_VERIFY_FAILED), HandshakeFailure::kClientCertificate);
  EXPECT_EQ(failure(SSL_R_TLSV1_ALERT_UNKNOWN_CA), HandshakeFailure::kServerCertificate);
  EXPECT_EQ(failure(SSL_R_TLSV1_ALERT_INTERNAL_ERROR), HandshakeFailure::kAlert);
  EXPECT_EQ(failure(SSL_R_BAD_PACKET), HandshakeFailure::kMalformed);
  EXPECT_EQ(failure(SSL_R_WRONG_VERSION_NUMBER), HandshakeFailure::kMalformed);
}

TEST(HandshakeTest, EveryReasonHasItsName) {
  EXPECT_EQ(kHandshakeFailures.size(), static_cast<size_t>(HandshakeFailure::kMalformed) + 1);
  EXPECT_EQ(kHandshakeFailures[static_cast<size_t>(HandshakeFailure::kTimeout)], "timeout");
  EXPECT_EQ(kHandshakeFailures[static_cast<size_t>(HandshakeFailure::kMalformed)], "malformed");
}

}  // namespace
}  // namespace hadal::tls
