// SPDX-License-Identifier: Apache-2.0
#include "server/service/api_keys.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/read_file.h"
#include "base/utf8.h"
#include "server/base/strings.h"
#include "server/request/refusal.h"

namespace hadal::service {
namespace {

using base::View;
using request::MakeError;
using request::Reason;

constexpr int64_t kMaxFileBytes = 1 << 20;

// Time depends on the length of `given` alone.
bool ConstantTimeEquals(std::string_view given, std::string_view secret) {
  unsigned difference = given.size() == secret.size() ? 0 : 1;
  for (size_t i = 0; i < given.size(); ++i) {
    const char expected = secret.empty() ? '\0' : secret[i % secret.size()];
    difference |= static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(expected);
  }
  return difference == 0;
}

// The words of a line. A word that begins with # begins a comment; inside a word # is a character like any other, so
// that a name such as team#7 neither loses its end nor what stands behind it.
std::vector<std::string> Words(absl::string_view line) {
  std::vector<std::string> words = absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
  const auto comment = std::find_if(words.begin(), words.end(), [](const std::string& word) { return word[0] == '#'; });
  words.erase(comment, words.end());
  return words;
}

// Reads "NAME=N" into `limits`; the error names what is wrong. A limit that could not be read must not vanish.
absl::Status ReadLimit(const std::string& word, QuotaLimits* limits) {
  constexpr int64_t kMost = int64_t{1} << 40;
  const size_t equals = word.find('=');
  const std::string name = word.substr(0, equals);
  int64_t* const target = name == "requests"            ? &limits->requests
                          : name == "tokens-per-minute" ? &limits->tokens_per_minute
                          : name == "burst-tokens"      ? &limits->burst_tokens
                                                        : nullptr;
  if (target == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("unknown limit '", name, "'; known are requests, tokens-per-minute, burst-tokens"));
  }
  if (*target != 0) return absl::InvalidArgumentError(absl::StrCat("the limit '", name, "' is given twice"));
  int64_t value = 0;
  if (!absl::SimpleAtoi(word.substr(equals + 1), &value) || value < 1 || value > kMost) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", word, "': expected a number from 1 to ", kMost, " behind the equals sign"));
  }
  *target = value;
  return absl::OkStatus();
}

bool IsPrintableAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c <= '~'; });
}

// Whether a name shows all it holds. What looks like a space but separates no words would hide the class behind it.
bool IsVisible(std::string_view text) {
  constexpr std::pair<char32_t, char32_t> kInvisible[] = {
      {0, 0x20},        {0x7F, 0xA0},     {0xAD, 0xAD},     {0x1680, 0x1680}, {0x180E, 0x180E},
      {0x2000, 0x200F}, {0x2028, 0x202F}, {0x205F, 0x206F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
  if (base::FindInvalidUtf8(text) != std::string_view::npos) return false;
  int length = 0;
  for (size_t at = 0; at < text.size(); at += length) {
    const char32_t c = base::DecodeUtf8(text.data() + at, &length);
    for (const auto& [first, last] : kInvisible) {
      if (c >= first && c <= last) return false;
    }
  }
  return true;
}

}  // namespace

std::optional<request::Priority> ParsePriority(std::string_view name) {
  for (int i = 0; i < request::kNumPriorities; ++i) {
    if (name == request::kPriorityNames[i]) return static_cast<request::Priority>(i);
  }
  return std::nullopt;
}

absl::Status MissingCertificate() {
  return MakeError(Reason::kUnauthenticated,
                   "no client certificate: this server wants one that an authority of its --tls-client-ca has signed");
}

absl::Status Caller::AskFor(request::Priority wanted) {
  if (wanted < max_priority) {
    return MakeError(Reason::kPermissionDenied,
                     absl::StrCat("class '", View(request::kPriorityNames[static_cast<int>(wanted)]),
                                  "' is above what the key allows, '",
                                  View(request::kPriorityNames[static_cast<int>(max_priority)]), "'"),
                     "priority");
  }
  priority = wanted;
  return absl::OkStatus();
}

void ApiKeys::Replace(const ApiKeys& other) {
  const std::shared_ptr<const Keys> old_keys = table_->Get();
  auto keys = std::make_shared<Keys>(*other.table_->Get());
  for (Key& key : *keys) {
    const auto old = std::find_if(old_keys->begin(), old_keys->end(),
                                  [&](const Key& other_key) { return other_key.secret == key.secret; });
    if (old == old_keys->end() || old->quota == nullptr) continue;
    old->quota->SetLimits(key.quota == nullptr ? QuotaLimits{} : key.quota->limits());
    key.quota = old->quota;
  }
  table_->Set(std::move(keys));
}

absl::StatusOr<ApiKeys> ApiKeys::Load(const std::string& path) {
  const absl::StatusOr<std::string> text = base::ReadFile(path, kMaxFileBytes);
  if (!text.ok()) return absl::InvalidArgumentError(absl::StrCat("--api-key-file: ", text.status().message()));
  return Parse(*text, path);
}

absl::StatusOr<ApiKeys> ApiKeys::Parse(std::string_view text, std::string_view file) {
  Keys keys;
  int line_number = 0;
  for (absl::string_view line : absl::StrSplit(View(text), '\n')) {
    ++line_number;
    const std::vector<std::string> words = Words(line);
    if (words.empty()) continue;
    auto error = [&](std::string what) {
      return absl::InvalidArgumentError(absl::StrCat(View(file), ":", line_number, ": ", what));
    };
    const auto first_limit = std::find_if(words.begin() + std::min<size_t>(words.size(), 2), words.end(),
                                          [](const std::string& word) { return absl::StrContains(word, '='); });
    const auto plain = first_limit - words.begin();
    const bool gateway = plain > 2 && words[plain - 1] == "gateway";
    if (plain < 2 || plain > (gateway ? 4 : 3)) {
      return error(absl::StrCat("expected 'key tenant [class] [gateway] [limit=N ...]', found ", plain, " words"));
    }
    if (!IsPrintableAscii(words[0])) return error("the key holds characters that are not printable ASCII");
    if (!IsVisible(words[1])) {
      return error("the tenant holds an invisible character or is not UTF-8; spaces and tabs separate words");
    }
    Key key{words[0], words[1], request::Priority::kHigh, gateway, nullptr};
    if (plain - gateway == 3) {
      const std::optional<request::Priority> cap = ParsePriority(words[2]);
      if (!cap.has_value())
        return error(absl::StrCat("unknown class '", words[2], "'; known are high, normal, low, batch"));
      key.cap = *cap;
    }
    QuotaLimits limits;
    for (auto word = first_limit; word != words.end(); ++word) {
      if (absl::Status status = ReadLimit(*word, &limits); !status.ok()) return error(std::string(status.message()));
    }
    if (limits.burst_tokens > 0 && limits.tokens_per_minute == 0) {
      return error("burst-tokens without tokens-per-minute limits nothing");
    }
    if (!(limits == QuotaLimits{})) key.quota = std::make_shared<KeyQuota>(limits);
    for (const Key& other : keys) {
      if (other.secret == key.secret) return error("the key is already given in an earlier line");
    }
    keys.push_back(std::move(key));
  }
  if (keys.empty()) return absl::InvalidArgumentError(absl::StrCat(View(file), ": holds no key"));
  ApiKeys parsed;
  parsed.table_->Set(std::make_shared<const Keys>(std::move(keys)));
  return parsed;
}

absl::StatusOr<Caller> ApiKeys::CallerOf(std::string_view tenant) const {
  Caller caller;
  caller.tenant = std::string(tenant);
  caller.priority = caller.max_priority = request::Priority::kBatch;
  const std::shared_ptr<const Keys> keys = table_->Get();
  if (keys->empty()) return caller;
  for (const Key& key : *keys) {
    if (key.tenant != tenant) continue;
    caller.quota = key.quota;
    return caller;
  }
  return MakeError(Reason::kUnauthenticated, absl::StrCat("the tenant '", View(tenant), "' has no key any more"));
}

absl::StatusOr<Caller> ApiKeys::Authenticate(std::string_view authorization,
                                             std::optional<request::Priority> wanted) const {
  Caller caller;
  const std::shared_ptr<const Keys> keys = table_->Get();
  if (keys->empty()) {
    caller.priority = wanted.value_or(request::Priority::kNormal);
    return caller;
  }
  constexpr std::string_view kScheme = "bearer ";
  if (authorization.empty()) {
    return MakeError(Reason::kUnauthenticated, "no API key: send the header 'Authorization: Bearer KEY'");
  }
  if (!absl::StartsWithIgnoreCase(View(authorization), View(kScheme))) {
    return MakeError(Reason::kUnauthenticated, "the Authorization header is not of the form 'Bearer KEY'");
  }
  authorization.remove_prefix(kScheme.size());
  const Key* match = nullptr;
  for (const Key& key : *keys) {
    if (ConstantTimeEquals(authorization, key.secret)) match = &key;
  }
  if (match == nullptr) return MakeError(Reason::kUnauthenticated, "the API key is not known");
  caller.tenant = match->tenant;
  caller.max_priority = match->cap;
  caller.quota = match->quota;
  caller.gateway = match->gateway;
  // Without a wish the call runs as normal, or lower where the key allows no more.
  const request::Priority priority = wanted.value_or(std::max(request::Priority::kNormal, match->cap));
  if (absl::Status status = caller.AskFor(priority); !status.ok()) return status;
  return caller;
}

}  // namespace hadal::service
