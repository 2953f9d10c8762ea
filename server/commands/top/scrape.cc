// SPDX-License-Identifier: Apache-2.0
#include "server/commands/top/scrape.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/numbers.h"
#include "server/base/strings.h"

namespace hadal::top {
namespace {

// `{a="x",b="y"}` at the start of `rest`, which then begins behind it; false when that is not what stands there.
bool TakeLabels(std::string_view* rest, std::map<std::string, std::string>* labels) {
  rest->remove_prefix(1);
  while (!rest->empty() && rest->front() != '}') {
    const size_t equals = rest->find("=\"");
    if (equals == rest->npos) return false;
    std::string& value = (*labels)[std::string(rest->substr(0, equals))];
    size_t i = equals + 2;
    for (; i < rest->size() && (*rest)[i] != '"'; ++i) {
      const bool escaped = (*rest)[i] == '\\' && i + 1 < rest->size();
      if (escaped) ++i;
      value += escaped && (*rest)[i] == 'n' ? '\n' : (*rest)[i];
    }
    if (i == rest->size()) return false;
    rest->remove_prefix(i + 1);
    if (!rest->empty() && rest->front() == ',') rest->remove_prefix(1);
  }
  if (rest->empty()) return false;
  rest->remove_prefix(1);
  return true;
}

bool ParseValue(std::string_view text, double* value) {
  if (text == "+Inf" || text == "-Inf") {
    *value = (text[0] == '+' ? 1 : -1) * std::numeric_limits<double>::infinity();
    return true;
  }
  return absl::SimpleAtod(base::View(text.substr(0, text.find(' '))), value);  // a time stamp may follow
}

}  // namespace

Scrape Scrape::Parse(std::string_view text, absl::Time at) {
  Scrape scrape;
  scrape.at_ = at;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const size_t name_end = line.find_first_of("{ ");
    if (line.empty() || line.front() == '#' || name_end == line.npos) continue;
    const std::string_view name = line.substr(0, name_end);
    line.remove_prefix(name_end);
    Sample sample;
    if (line.front() == '{' && !TakeLabels(&line, &sample.labels)) continue;
    if (line.empty() || line.front() != ' ' || !ParseValue(line.substr(1), &sample.value)) continue;
    scrape.samples_[std::string(name)].push_back(std::move(sample));
  }
  return scrape;
}

const std::vector<Scrape::Sample>& Scrape::All(const std::string& name) const {
  static const auto* const none = new std::vector<Sample>();
  const auto found = samples_.find(name);
  return found == samples_.end() ? *none : found->second;
}

double Scrape::Sum(const std::string& name) const {
  double sum = 0;
  for (const Sample& sample : All(name)) sum += sample.value;
  return sum;
}

std::map<std::string, double> Scrape::By(const std::string& name, const std::string& label) const {
  std::map<std::string, double> sums;
  for (const Sample& sample : All(name)) {
    const auto found = sample.labels.find(label);
    if (found != sample.labels.end()) sums[found->second] += sample.value;
  }
  return sums;
}

std::map<double, double> Scrape::Buckets(const std::string& name) const {
  std::map<double, double> counts;
  for (const auto& [bound, count] : By(name + "_bucket", "le")) {
    double value = 0;
    if (ParseValue(bound, &value)) counts[value] += count;
  }
  return counts;
}

double Growth(double before, double now) { return now >= before ? now - before : now; }

double Rate(const Scrape& before, const Scrape& now, const std::string& name) {
  const double seconds = absl::ToDoubleSeconds(now.at() - before.at());
  return seconds > 0 ? Growth(before.Sum(name), now.Sum(name)) / seconds : 0;
}

std::optional<double> Quantile(const Scrape& before, const Scrape& now, const std::string& name, double q) {
  const std::map<double, double> old = before.Buckets(name);
  std::map<double, double> counts = now.Buckets(name);
  const auto was = [&](double bound) {
    const auto found = old.find(bound);
    return found == old.end() ? 0 : found->second;
  };
  // A server that has begun again has taken in all that it shows.
  const bool restarted = !counts.empty() && counts.rbegin()->second < was(counts.rbegin()->first);
  for (auto& [bound, count] : counts) count -= restarted ? 0 : was(bound);
  const double total = counts.empty() ? 0 : counts.rbegin()->second;
  if (total <= 0) return std::nullopt;
  double lower = 0, below = 0;
  for (const auto& [bound, count] : counts) {
    if (count >= q * total) {
      if (std::isinf(bound)) return lower;
      return lower + (bound - lower) * (q * total - below) / std::max(count - below, 1e-9);
    }
    lower = bound;
    below = count;
  }
  return lower;
}

std::optional<double> Mean(const Scrape& before, const Scrape& now, const std::string& name) {
  const double old_count = before.Sum(name + "_count"), new_count = now.Sum(name + "_count");
  const double count = Growth(old_count, new_count);
  if (count <= 0) return std::nullopt;
  return (now.Sum(name + "_sum") - (new_count >= old_count ? before.Sum(name + "_sum") : 0)) / count;
}

}  // namespace hadal::top
