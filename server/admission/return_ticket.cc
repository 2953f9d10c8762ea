// SPDX-License-Identifier: Apache-2.0
#include "server/admission/return_ticket.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/escaping.h"
#include "server/base/check.h"
#include "server/base/strings.h"

namespace hadal::admission {

ReturnTickets::ReturnTickets() {
  HADAL_CHECK(RAND_bytes(key_.data(), static_cast<int>(key_.size())) == 1) << "no random bytes for a key";
}

ReturnTickets::Mac ReturnTickets::Sign(const char* body) const {
  std::array<uint8_t, EVP_MAX_MD_SIZE> digest;
  unsigned int size = 0;
  const uint8_t* made = HMAC(EVP_sha256(), key_.data(), static_cast<int>(key_.size()),
                             reinterpret_cast<const uint8_t*>(body), kBodyBytes, digest.data(), &size);
  HADAL_CHECK(made != nullptr && size >= kMacBytes) << "HMAC-SHA256 is not there";
  Mac mac;
  std::copy_n(digest.begin(), kMacBytes, mac.begin());
  return mac;
}

std::string ReturnTickets::Issue(uint64_t promise, absl::Time expires) const {
  const int64_t expires_us = absl::ToUnixMicros(expires);
  std::string bytes(kBodyBytes + kMacBytes, '\0');
  std::memcpy(bytes.data(), &promise, sizeof(promise));
  std::memcpy(bytes.data() + sizeof(promise), &expires_us, sizeof(expires_us));
  const Mac mac = Sign(bytes.data());
  std::memcpy(bytes.data() + kBodyBytes, mac.data(), kMacBytes);
  return absl::WebSafeBase64Escape(bytes);
}

ReturnTickets::Opened ReturnTickets::Open(std::string_view ticket, absl::Time now) const {
  Opened opened;
  std::string bytes;
  if (ticket.size() != kLength || !absl::WebSafeBase64Unescape(base::View(ticket), &bytes) ||
      bytes.size() != kBodyBytes + kMacBytes) {
    return opened;
  }
  const Mac mac = Sign(bytes.data());
  if (CRYPTO_memcmp(mac.data(), bytes.data() + kBodyBytes, kMacBytes) != 0) return opened;
  int64_t expires_us = 0;
  std::memcpy(&opened.promise, bytes.data(), sizeof(opened.promise));
  std::memcpy(&expires_us, bytes.data() + sizeof(opened.promise), sizeof(expires_us));
  opened.state = now <= absl::FromUnixMicros(expires_us) ? TicketState::kAccepted : TicketState::kExpired;
  return opened;
}

}  // namespace hadal::admission
