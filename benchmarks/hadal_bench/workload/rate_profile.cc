// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/hadal_bench/workload/rate_profile.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/base/strings.h"

namespace hadal::bench {
namespace {

constexpr double kMaxRate = 1e6;
constexpr double kMaxRequests = 1e7;  // of one run: each takes some hundred bytes until its end

absl::Status Bad(std::string_view text, std::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(base::View(why), ", found '", base::View(text),
                                                 "'; a rate is requests per second as '5', in steps as "
                                                 "'7,20@30,7@60' (from second 30 on 20/s), or rising as '5..50'"));
}

bool ReadRate(absl::string_view text, double* rate) {
  return absl::SimpleAtod(text, rate) && *rate >= 0 && *rate <= kMaxRate;
}

}  // namespace

double RateProfile::Piece::CountUntil(double t_s) const {
  const double length = to_s - from_s, x = std::clamp(t_s - from_s, 0.0, length);
  return length <= 0 ? 0 : begin * x + (end - begin) * x * x / (2 * length);
}

RateProfile RateProfile::Constant(double rate, double duration_s) {
  RateProfile profile;
  profile.duration_s_ = duration_s;
  profile.pieces_ = {{0, duration_s, rate, rate}};
  return profile;
}

absl::StatusOr<RateProfile> RateProfile::Parse(std::string_view text, double duration_s) {
  RateProfile profile;
  profile.duration_s_ = duration_s;
  const absl::string_view all = base::View(text);
  if (const size_t dots = all.find(".."); dots != absl::string_view::npos) {
    Piece piece{0, duration_s, 0, 0};
    if (!ReadRate(all.substr(0, dots), &piece.begin) || !ReadRate(all.substr(dots + 2), &piece.end)) {
      return Bad(text, "a rate is from 0 to 1000000");
    }
    profile.pieces_ = {piece};
  } else {
    for (absl::string_view part : absl::StrSplit(all, ',')) {
      Piece piece{0, duration_s, 0, 0};
      const size_t at = part.find('@');
      if (!ReadRate(part.substr(0, at), &piece.begin)) return Bad(text, "a rate is from 0 to 1000000");
      if (at != absl::string_view::npos && !absl::SimpleAtod(part.substr(at + 1), &piece.from_s)) {
        return Bad(text, "behind @ stands the second at which a step begins");
      }
      if ((at == absl::string_view::npos) != profile.pieces_.empty()) {
        return Bad(text, "every step but the first has its second behind @");
      }
      if (!profile.pieces_.empty()) {
        if (!(piece.from_s > profile.pieces_.back().from_s)) return Bad(text, "steps come in the order of their time");
        if (piece.from_s >= duration_s) return Bad(text, "a step begins before the end of --duration");
        profile.pieces_.back().to_s = piece.from_s;
      }
      piece.end = piece.begin;
      profile.pieces_.push_back(piece);
    }
  }
  if (!(profile.Cumulative(duration_s) > 0)) return Bad(text, "a rate is above 0 somewhere");
  if (const double requests = profile.Cumulative(duration_s); requests > kMaxRequests) {
    return Bad(text, absl::StrCat("a run has at most 10000000 requests, this one of ", duration_s, " s would have ",
                                  static_cast<int64_t>(requests)));
  }
  return profile;
}

RateProfile RateProfile::Scaled(double factor) const {
  RateProfile scaled = *this;
  for (Piece& piece : scaled.pieces_) {
    piece.begin *= factor;
    piece.end *= factor;
  }
  return scaled;
}

double RateProfile::RateAt(double t_s) const {
  for (const Piece& piece : pieces_) {
    if (t_s < piece.to_s)
      return piece.begin + (piece.end - piece.begin) * (t_s - piece.from_s) / (piece.to_s - piece.from_s);
  }
  return pieces_.back().end;
}

double RateProfile::Cumulative(double t_s) const {
  double count = 0;
  for (const Piece& piece : pieces_) count += piece.CountUntil(t_s);
  return count;
}

double RateProfile::InverseCumulative(double count) const {
  for (const Piece& piece : pieces_) {
    const double whole = piece.CountUntil(piece.to_s);
    if (count > whole) {
      count -= whole;
      continue;
    }
    // begin*x + slope*x^2/2 = count, in the form that stays exact for a slope of 0.
    const double slope = (piece.end - piece.begin) / (piece.to_s - piece.from_s);
    const double root = std::sqrt(std::max(0.0, piece.begin * piece.begin + 2 * slope * count));
    return count == 0 ? piece.from_s : piece.from_s + 2 * count / (piece.begin + root);
  }
  return std::numeric_limits<double>::infinity();
}

}  // namespace hadal::bench
