// SPDX-License-Identifier: Apache-2.0
#include "models/grammar/string_tokens.h"

#include <algorithm>
#include <map>
#include <set>

#include "models/grammar/json_string_scan.h"
#include "models/grammar/text_scan.h"

namespace hadal::grammar {
namespace {

using Step = JsonStringScan::Step;

// Whether a value may begin at the quote at `at`: it stands at the begin, or behind what comes before values.
bool MayOpenValue(std::string_view token, size_t at) {
  const size_t before = at == 0 ? std::string_view::npos : token.find_last_not_of(" \t\r\n", at - 1);
  return before == std::string_view::npos || std::string_view(":[,>").find(token[before]) != std::string_view::npos;
}

}  // namespace

StringTokens::StringTokens(const std::vector<std::string>& bytes, int32_t vocab_size)
    : bytes_(&bytes), json_((static_cast<size_t>(vocab_size) + 31) / 32), text_(json_.within[0].size()) {
  for (int32_t id = 0; id < static_cast<int32_t>(bytes.size()); ++id) {
    const std::string& token = bytes[id];
    if (token.empty()) continue;
    by_first_[static_cast<unsigned char>(token[0])].push_back(id);
    if (token.find('"') != std::string::npos) quoted_.push_back(id);
    if (token.find('<') != std::string::npos) marked_.push_back(id);
    if (token.find('>') < token.size() - 1) past_markers_.push_back(id);
  }
  ReadRests();
  ReadClosers();
  ReadOpeners();
  ReadContent();
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

void StringTokens::ReadContent() {
  for (int32_t id = 0; id < static_cast<int32_t>(bytes_->size()); ++id) {
    const std::string_view token = bytes(id);
    if (token.empty()) continue;
    JsonStringScan scan;
    Step step = Step::kContent;
    for (size_t at = 0; step == Step::kContent && at < token.size(); ++at) {
      step = scan.Push(static_cast<unsigned char>(token[at]));
    }
    if (step == Step::kContent) json_.Put(id, scan.characters());
    if (token.find('<') != std::string_view::npos) continue;
    TextScan text("<");
    const bool valid = std::all_of(token.begin(), token.end(), [&](char c) {
      return text.Push(static_cast<unsigned char>(c)) == TextScan::Step::kContent;
    });
    if (valid) text_.Put(id, text.characters());
  }
  json_.Finish();
  text_.Finish();
}

void StringTokens::Table::Put(int32_t token, int64_t characters) {
  if (characters > kTabulated) {
    longer.emplace_back(token, characters);
  } else {
    within[characters][token / 32] |= 1u << (token % 32);
  }
}

void StringTokens::Table::Finish() {
  for (int k = 1; k <= kTabulated; ++k) {
    for (size_t i = 0; i < within[k].size(); ++i) within[k][i] |= within[k - 1][i];
  }
}

void StringTokens::Table::Add(int64_t room, models::TokenMask* mask) const {
  const models::TokenMask& tokens = within[std::clamp<int64_t>(room, 0, kTabulated)];
  for (size_t i = 0; i < tokens.size(); ++i) (*mask)[i] |= tokens[i];
  if (room <= kTabulated) return;
  for (const auto& [id, characters] : longer) {
    if (characters <= room) (*mask)[id / 32] |= 1u << (id % 32);
  }
}

}  // namespace hadal::grammar
