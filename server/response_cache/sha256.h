// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace hadal::response_cache {

// SHA-256 of bytes that come in pieces. Not thread-safe.
class Sha256 {
 public:
  static constexpr size_t kBytes = 32;

  Sha256();
  void Add(std::string_view bytes);
  // The digest, kBytes long; once.
  std::string Finish();

 private:
  struct Free {
    void operator()(void* context) const;
  };
  std::unique_ptr<void, Free> context_;
};

}  // namespace hadal::response_cache
