// SPDX-License-Identifier: Apache-2.0
#include "models/plan/layer_split.h"

#include <algorithm>
#include <numeric>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace hadal::plan {

using models::LayerRange;

absl::StatusOr<std::vector<LayerRange>> SplitLayersByBytes(absl::Span<const int64_t> bytes, int parts) {
  const auto layers = static_cast<int>(bytes.size());
  if (parts < 1 || parts > layers) {
    return absl::InvalidArgumentError(
        absl::StrCat(parts, " parts of a model of ", layers, " layers, expected at least one layer in each"));
  }
  std::vector<int64_t> sums(bytes.size() + 1, 0);  // of the layers before each
  std::partial_sum(bytes.begin(), bytes.end(), sums.begin() + 1);
  // least[p][n]: the largest part, when the first n layers are divided among p + 1 parts; cut[p][n]: where its last
  // part begins.
  std::vector<std::vector<int64_t>> least(parts, sums);
  std::vector<std::vector<int>> cut(parts, std::vector<int>(bytes.size() + 1, 0));
  for (int p = 1; p < parts; ++p) {
    for (int n = p + 1; n <= layers; ++n) {
      cut[p][n] = -1;
      for (int begin = p; begin < n; ++begin) {
        const int64_t largest = std::max(least[p - 1][begin], sums[n] - sums[begin]);
        if (cut[p][n] >= 0 && largest >= least[p][n]) continue;
        least[p][n] = largest;
        cut[p][n] = begin;
      }
    }
  }
  std::vector<LayerRange> ranges(parts);
  for (int p = parts - 1, end = layers; p >= 0; end = static_cast<int>(ranges[p--].begin)) {
    ranges[p] = {cut[p][end], end};
  }
  return ranges;
}

absl::StatusOr<std::vector<LayerRange>> SplitLayersByCounts(int64_t layers, absl::Span<const int64_t> counts) {
  std::vector<LayerRange> ranges;
  int64_t begin = 0;
  for (const int64_t count : counts) {
    if (count < 1 || count > layers - begin) {
      return absl::InvalidArgumentError(absl::StrCat("layers ", absl::StrJoin(counts, ","), ": expected counts of at ",
                                                     "least 1 that add up to the model's ", layers));
    }
    ranges.push_back({begin, begin + count});
    begin += count;
  }
  if (begin != layers) {
    return absl::InvalidArgumentError(absl::StrCat("layers ", absl::StrJoin(counts, ","), ": they add up to ", begin,
                                                   ", expected the model's ", layers));
  }
  return ranges;
}

}  // namespace hadal::plan
