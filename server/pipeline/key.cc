// SPDX-License-Identifier: Apache-2.0
#include "server/pipeline/key.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/read_file.h"
#include "server/base/check.h"

namespace hadal::pipeline {
namespace {

constexpr size_t kMinKeyBytes = 16;
constexpr int64_t kMaxKeyBytes = 4096;

}  // namespace

absl::StatusOr<std::string> ReadKey(const std::string& path) {
  if (path.empty()) {
    return absl::InvalidArgumentError("--pipeline-key-file is missing: it names a file with the secret of all hosts");
  }
  absl::StatusOr<std::string> text = base::ReadFile(path, kMaxKeyBytes);
  if (!text.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("--pipeline-key-file: ", text.status().message()));
  }
  const absl::string_view key = absl::StripAsciiWhitespace(*text);
  if (key.size() >= kMinKeyBytes) return std::string(key);
  return absl::InvalidArgumentError(
      absl::StrCat("--pipeline-key-file: ", path, " holds ", key.size(), " bytes, minimum ", kMinKeyBytes));
}

Mac MakeMac(const std::string& key, Side side, const Nonce& leader, const Nonce& worker) {
  std::string text = side == Side::kLeader ? "hadal pipeline leader" : "hadal pipeline worker";
  for (const Nonce* nonce : {&leader, &worker})
    text.append(reinterpret_cast<const char*>(nonce->data()), nonce->size());
  Mac mac;
  unsigned int bytes = 0;
  const unsigned char* const made =
      HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(text.data()),
           text.size(), reinterpret_cast<unsigned char*>(mac.data()), &bytes);
  HADAL_CHECK(made != nullptr && bytes == mac.size());
  return mac;
}

bool Equal(const Mac& a, const Mac& b) { return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0; }

Nonce MakeNonce() {
  Nonce nonce;
  HADAL_CHECK(RAND_bytes(reinterpret_cast<unsigned char*>(nonce.data()), static_cast<int>(nonce.size())) == 1);
  return nonce;
}

}  // namespace hadal::pipeline
