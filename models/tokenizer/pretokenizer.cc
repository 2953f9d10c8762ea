// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/pretokenizer.h"

#include <algorithm>
#include <utility>

namespace hadal::tokenizer {
namespace {

// A stretch of a piece: a match of the pattern or the gap between two.
struct Stretch {
  Match range;
  bool is_match;
};

std::vector<Stretch> WithGaps(const std::vector<Match>& matches, uint32_t size, bool invert) {
  std::vector<Stretch> out;
  uint32_t previous = 0;
  for (const Match& match : matches) {
    if (previous != match.begin) out.push_back({{previous, match.begin}, invert});
    out.push_back({match, !invert});
    previous = match.end;
  }
  if (previous != size) out.push_back({{previous, size}, invert});
  return out;
}

void KeepNonEmpty(const Match& range, uint32_t base, std::vector<Match>* pieces) {
  if (range.begin != range.end) pieces->push_back({base + range.begin, base + range.end});
}

// Every behaviour but Isolated.
void Apply(SplitBehavior behavior, std::vector<Stretch> stretches, uint32_t base, std::vector<Match>* pieces) {
  if (behavior == SplitBehavior::kRemoved) {
    for (const Stretch& s : stretches) {
      if (!s.is_match) KeepNonEmpty(s.range, base, pieces);
    }
    return;
  }
  const bool backwards = behavior == SplitBehavior::kMergedWithNext;
  if (backwards) std::reverse(stretches.begin(), stretches.end());
  std::vector<Match> merged;
  bool previous_match = false;
  for (const Stretch& s : stretches) {
    const bool join =
        behavior == SplitBehavior::kContiguous ? s.is_match == previous_match : s.is_match && !previous_match;
    if (join && !merged.empty()) {
      if (backwards) {
        merged.back().begin = s.range.begin;
      } else {
        merged.back().end = s.range.end;
      }
    } else {
      merged.push_back(s.range);
    }
    previous_match = s.is_match;
  }
  if (backwards) std::reverse(merged.begin(), merged.end());
  for (const Match& range : merged) KeepNonEmpty(range, base, pieces);
}

}  // namespace

void Pretokenizer::AddSplit(std::unique_ptr<Matcher> matcher, SplitBehavior behavior, bool invert) {
  steps_.push_back({std::move(matcher), behavior, invert});
}

bool Pretokenizer::RemovesText() const {
  return std::any_of(steps_.begin(), steps_.end(),
                     [](const auto& step) { return step.behavior == SplitBehavior::kRemoved; });
}

void Pretokenizer::AddPrefixSpace(bool only_first) {
  steps_.push_back({nullptr, SplitBehavior::kIsolated, false, only_first});
}

absl::Status Pretokenizer::Run(std::string_view input, bool first, PretokenizeScratch* scratch,
                               std::string_view* text) const {
  *text = input;
  std::vector<Match>& pieces = scratch->pieces;
  std::vector<Match>& next = scratch->next_pieces;
  pieces.clear();
  if (!input.empty()) pieces.push_back({0, static_cast<uint32_t>(input.size())});
  for (const Step& step : steps_) {
    next.clear();
    if (step.matcher == nullptr) {
      if (step.only_first && !first) continue;
      std::string prefixed;
      for (const Match& piece : pieces) {
        const auto begin = static_cast<uint32_t>(prefixed.size());
        const bool wanted = !step.only_first || piece.begin == 0;
        if (wanted && (*text)[piece.begin] != ' ') prefixed.push_back(' ');
        prefixed.append(text->substr(piece.begin, piece.end - piece.begin));
        next.push_back({begin, static_cast<uint32_t>(prefixed.size())});
      }
      scratch->prefixed = std::move(prefixed);
      *text = scratch->prefixed;
      pieces.swap(next);
      continue;
    }
    for (const Match& piece : pieces) {
      scratch->matches.clear();
      const uint32_t size = piece.end - piece.begin;
      absl::Status status = step.matcher->FindMatches(text->substr(piece.begin, size), &scratch->matches);
      if (!status.ok()) return status;
      if (step.behavior != SplitBehavior::kIsolated) {
        Apply(step.behavior, WithGaps(scratch->matches, size, step.invert), piece.begin, &next);
        continue;
      }
      uint32_t previous = 0;
      for (const Match& match : scratch->matches) {
        KeepNonEmpty({previous, match.begin}, piece.begin, &next);
        KeepNonEmpty(match, piece.begin, &next);
        previous = match.end;
      }
      KeepNonEmpty({previous, size}, piece.begin, &next);
    }
    pieces.swap(next);
  }
  return absl::OkStatus();
}

}  // namespace hadal::tokenizer
