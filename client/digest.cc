// SPDX-License-Identifier: Apache-2.0
#include "client/digest.h"

#include <openssl/evp.h>

#include <cstdint>
#include <memory>

#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"

namespace hadal::client {

std::string Digest(std::initializer_list<std::string_view> parts) {
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr);
  for (const std::string_view part : parts) {
    const uint64_t size = part.size();
    EVP_DigestUpdate(context.get(), &size, sizeof(size));
    EVP_DigestUpdate(context.get(), part.data(), part.size());
  }
  char bytes[32];
  EVP_DigestFinal_ex(context.get(), reinterpret_cast<unsigned char*>(bytes), nullptr);
  return absl::BytesToHexString(absl::string_view(bytes, sizeof(bytes)));
}

}  // namespace hadal::client
