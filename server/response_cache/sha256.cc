// SPDX-License-Identifier: Apache-2.0
#include "server/response_cache/sha256.h"

#include <openssl/evp.h>

#include "server/base/check.h"

namespace hadal::response_cache {
namespace {

EVP_MD_CTX* Context(void* context) { return static_cast<EVP_MD_CTX*>(context); }

}  // namespace

void Sha256::Free::operator()(void* context) const { EVP_MD_CTX_free(Context(context)); }

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  HADAL_CHECK(context_ != nullptr && EVP_DigestInit_ex(Context(context_.get()), EVP_sha256(), nullptr) == 1)
      << "OpenSSL has no SHA-256";
}

void Sha256::Add(std::string_view bytes) { EVP_DigestUpdate(Context(context_.get()), bytes.data(), bytes.size()); }

std::string Sha256::Finish() {
  std::string digest(kBytes, '\0');
  EVP_DigestFinal_ex(Context(context_.get()), reinterpret_cast<unsigned char*>(digest.data()), nullptr);
  return digest;
}

}  // namespace hadal::response_cache
