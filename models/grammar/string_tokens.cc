// SPDX-License-Identifier: Apache-2.0
#include "models/grammar/string_tokens.h"

#include <algorithm>
#include <map>
#include <set>

#include "models/grammar/json_string_scan.h"

namespace hadal::grammar {
namespace {

using Step = JsonStringScan::Step;

// Whether a value may begin at the quote at `at`: it stands at the begin, or behind what comes before values.
bool MayOpenValue(std::string_view token, size_t at) {
  const size_t before = at == 0 ? std::string_view::npos : token.find_last_not_of(" \t\r\n", at - 1);
  return before == std::string_view::npos || std::string_view(":[,>").find(token[before]) != std::string_view::npos;
}

}  // namespace

StringTokens::StringTokens(const std::vector<std::string>& bytes, int32_t vocab_size) : bytes_(&bytes) {
  for (int32_t id = 0; id < static_cast<int32_t>(bytes.size()); ++id) {
    const std::string& token = bytes[id];
    if (token.empty()) continue;
    by_first_[static_cast<unsigned char>(token[0])].push_back(id);
    if (token.find('"') != std::string::npos) quoted_.push_back(id);
  }
  ReadRests();
  ReadClosers();
  ReadOpeners();
  ReadContent(vocab_size);
}

void StringTokens::ReadRests() {
  std::set<std::string_view> found;
  for (const int32_t id : quoted_) {
    const std::string_view token = bytes(id);
    for (size_t at = token.find('"'); at != std::string_view::npos; at = token.find('"', at + 1)) {
      found.insert(token.substr(at + 1));
    }
  }
  rests_.assign(found.begin(), found.end());
  for (size_t i = 0; i < rests_.size(); ++i) rest_ids_.emplace(rests_[i], static_cast<int32_t>(i));
}

void StringTokens::ReadClosers() {
  std::map<std::string_view, Closer> closers;
  for (const int32_t id : quoted_) {
    const std::string_view token = bytes(id);
    JsonStringScan scan;
    size_t at = 0;
    Step step = Step::kContent;
    while (step == Step::kContent && at < token.size()) step = scan.Push(static_cast<unsigned char>(token[at++]));
    if (step != Step::kClosed) continue;
    const std::string_view content = token.substr(0, at - 1);
    Closer& closer = closers[content];
    closer.content = std::string(content);
    closer.characters = scan.characters();
    closer.tokens.push_back({id, RestOf(token.substr(at))});
  }
  for (auto& [content, closer] : closers) closers_.push_back(std::move(closer));
}

void StringTokens::ReadOpeners() {
  std::map<std::string_view, Opener> openers;
  for (const int32_t id : quoted_) {
    const std::string_view token = bytes(id);
    const size_t first = token.find('"');
    size_t at = first;
    while (at != std::string_view::npos && !MayOpenValue(token, at)) at = token.find('"', at + 1);
    if (at == std::string_view::npos) continue;
    Opener& opener = openers[token.substr(0, first)];
    opener.lead = std::string(token.substr(0, first));
    opener.tokens.push_back({id, token.substr(first + 1)});
  }
  for (auto& [lead, opener] : openers) openers_.push_back(std::move(opener));
}

void StringTokens::ReadContent(int32_t vocab_size) {
  const size_t words = (static_cast<size_t>(vocab_size) + 31) / 32;
  within_.assign(kTabulated + 1, models::TokenMask(words, 0u));
  for (int32_t id = 0; id < static_cast<int32_t>(bytes_->size()); ++id) {
    const std::string_view token = bytes(id);
    JsonStringScan scan;
    Step step = token.empty() ? Step::kInvalid : Step::kContent;
    for (size_t at = 0; step == Step::kContent && at < token.size(); ++at) {
      step = scan.Push(static_cast<unsigned char>(token[at]));
    }
    if (step != Step::kContent) continue;
    if (scan.characters() > kTabulated) {
      longer_.emplace_back(id, scan.characters());
    } else {
      within_[scan.characters()][id / 32] |= 1u << (id % 32);
    }
  }
  for (int k = 1; k <= kTabulated; ++k) {
    for (size_t i = 0; i < words; ++i) within_[k][i] |= within_[k - 1][i];
  }
}

void StringTokens::AddWithin(int64_t room, models::TokenMask* mask) const {
  const models::TokenMask& tokens = within_[std::clamp<int64_t>(room, 0, kTabulated)];
  for (size_t i = 0; i < tokens.size(); ++i) (*mask)[i] |= tokens[i];
  if (room <= kTabulated) return;
  for (const auto& [id, characters] : longer_) {
    if (characters <= room) (*mask)[id / 32] |= 1u << (id % 32);
  }
}

}  // namespace hadal::grammar
