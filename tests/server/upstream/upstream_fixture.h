// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "server/base/notification.h"
#include "server/upstream/upstreams.h"
#include "tests/support/wake_latch.h"

namespace hadal::testing {

// Upstreams with the targets that are named, as by flags.
class UpstreamFixture {
 public:
  explicit UpstreamFixture(const std::vector<std::string>& targets,
                           const std::function<void(upstream::UpstreamOptions&)>& change = {}) {
    upstream::UpstreamOptions options;
    for (const std::string& target : targets) {
      options.targets.push_back(upstream::TargetOptions::Parse(target).value());
    }
    if (change) change(options);
    upstreams = upstream::Upstreams::Create(std::move(options), {.metrics = &metrics}).value();
  }

  static std::string KeyFile(const std::string& key) {
    const std::string path = ::testing::TempDir() + "/upstream_key_" + std::to_string(::getpid());
    std::ofstream(path) << key << "\n";
    return path;
  }

  int Count(const std::string& target, const std::string& outcome) {
    const std::string series =
        absl::StrFormat("hadal_upstream_requests_total{target=\"%s\",outcome=\"%s\"} ", target, outcome);
    const std::string text = metrics.Expose();
    const size_t at = text.find(series);
    return at == std::string::npos ? -1 : std::stoi(text.substr(at + series.size()));
  }

  static bool WaitFor(const std::function<bool()>& condition) {
    for (int i = 0; i < 30'000; ++i) {
      if (condition()) return true;
      absl::SleepFor(absl::Milliseconds(1));
    }
    return false;
  }

  base::MetricRegistry metrics;
  std::unique_ptr<upstream::Upstreams> upstreams;
};

inline upstream::PassedRequest Asked(std::string body) {
  return {.path = "/chat/completions", .body = std::make_shared<const std::string>(std::move(body))};
}

// Reads a passage as a front does: when it is told to.
class Reader {
 public:
  using Progress = upstream::Passage::Progress;

  Reader(UpstreamFixture& fixture, upstream::PassedRequest request)
      : passage(fixture.upstreams->Begin(std::move(request), [this] { woken_.Wake(); })) {}

  // Reads until it gets there, or to the end.
  Progress Until(Progress wanted) {
    while (true) {
      const Progress progress = passage->Read(&text);
      if (progress == wanted || progress > Progress::kStreaming) return progress;
      if (!woken_.Wait()) return progress;
    }
  }
  Progress ToEnd() { return Until(Progress::kBroken); }

  std::string text;

 private:
  WakeLatch woken_;

 public:
  std::unique_ptr<upstream::Passage> passage;  // ends first: it notifies
};

}  // namespace hadal::testing
