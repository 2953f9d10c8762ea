// SPDX-License-Identifier: Apache-2.0
#include "server/upstream/upstreams.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace hadal::upstream {
namespace {

// A target whose first byte takes longer than this part of the time-out is slow.
constexpr double kSlowShare = 0.5;

TargetSet::Options TargetsOf(const UpstreamOptions& options, const Upstreams::Dependencies& dependencies) {
  return {.targets = options.targets,
          .breaker = dependencies.breaker,
          .slow_after = kSlowShare * options.first_byte_timeout,
          .clock = dependencies.clock,
          .metrics = dependencies.metrics};
}

}  // namespace

absl::StatusOr<std::unique_ptr<Upstreams>> Upstreams::Create(UpstreamOptions options, Dependencies dependencies) {
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<TransferLoop>> loop = TransferLoop::Create(dependencies.user_agent);
  if (!loop.ok()) {
    return absl::Status(loop.status().code(), absl::StrCat("--fallback-upstream: ", loop.status().message()));
  }
  std::unique_ptr<Upstreams> upstreams(new Upstreams(std::move(options), dependencies, *std::move(loop)));
  if (absl::Status status = upstreams->ReloadKeys(); !status.ok()) return status;
  return upstreams;
}

Upstreams::Upstreams(UpstreamOptions options, const Dependencies& dependencies, std::unique_ptr<TransferLoop> loop)
    : options_(std::move(options)),
      clock_(dependencies.clock),
      targets_(TargetsOf(options_, dependencies)),
      loop_(std::move(loop)) {}

std::unique_ptr<Passage> Upstreams::Begin(PassedRequest request, std::function<void()> notify) {
  const PassageEnvironment environment = {
      .options = &options_, .targets = &targets_, .keys = &keys_, .loop = loop_.get(), .clock = clock_};
  auto core = std::make_shared<PassageCore>(environment, std::move(request), std::move(notify));
  loop_->Post([core] { core->Start(); });
  return std::make_unique<Passage>(std::move(core));
}

void Upstreams::BeginDrain(absl::Duration timeout) {
  absl::Time end;
  {
    base::MutexLock lock(&mutex_);
    drain_end_ = std::min(drain_end_, base::Clock::Real()->Now() + timeout);
    end = drain_end_;
  }
  loop_->Post([loop = loop_.get(), end] { loop->EndAllBy(end); });
}

absl::Time Upstreams::drain_end() const {
  base::MutexLock lock(&mutex_);
  return drain_end_;
}

}  // namespace hadal::upstream
