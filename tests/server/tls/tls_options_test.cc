// SPDX-License-Identifier: Apache-2.0
#include "server/tls/tls_options.h"

#include "gtest/gtest.h"

namespace hadal::tls {
namespace {

TEST(TlsOptionsTest, NamesTheFlagsThatDoNotGoTogether) {
  EXPECT_TRUE(TlsOptions().Validate().ok());
  TlsOptions options;
  options.cert_file = "c.pem";
  EXPECT_EQ(options.Validate().message(), "--tls-cert needs --tls-key");
  options.key_file = "k.pem";
  EXPECT_TRUE(options.Validate().ok());
  options.cert_file = "";
  EXPECT_EQ(options.Validate().message(), "--tls-key needs --tls-cert");
  options.key_file = "";
  options.client_ca_file = "ca.pem";
  EXPECT_EQ(options.Validate().message(), "--tls-client-ca needs --tls-cert and --tls-key");
}

}  // namespace
}  // namespace hadal::tls
