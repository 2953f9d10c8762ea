// SPDX-License-Identifier: Apache-2.0
#include "server/upstream/target_keys.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/read_file.h"

namespace hadal::upstream {
namespace {

constexpr int64_t kMaxKeyFileBytes = 64 << 10;

absl::StatusOr<std::string> ReadKey(const std::string& path) {
  absl::StatusOr<std::string> text = base::ReadFile(path, kMaxKeyFileBytes);
  if (!text.ok()) return text.status();
  std::string key = text->substr(0, text->find('\n'));
  absl::StripAsciiWhitespace(&key);
  // It becomes part of a header field.
  const bool visible = std::all_of(key.begin(), key.end(), [](char c) { return c > ' ' && c <= '~'; });
  if (key.empty() || !visible) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": its first line is no key: one word of visible characters"));
  }
  return key;
}

}  // namespace

absl::Status TargetKeys::Load(const std::vector<TargetOptions>& targets) {
  std::vector<std::string> keys;
  for (const TargetOptions& target : targets) {
    keys.emplace_back();
    if (target.key_file.empty()) continue;
    absl::StatusOr<std::string> key = ReadKey(target.key_file);
    if (!key.ok()) {
      return absl::Status(key.status().code(),
                          absl::StrCat("--fallback-upstream ", target.name, ": ", key.status().message()));
    }
    keys.back() = *std::move(key);
  }
  base::MutexLock lock(&mutex_);
  keys_ = std::move(keys);
  return absl::OkStatus();
}

std::string TargetKeys::Get(size_t index) const {
  base::MutexLock lock(&mutex_);
  return keys_[index];
}

}  // namespace hadal::upstream
