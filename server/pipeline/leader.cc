// SPDX-License-Identifier: Apache-2.0
#include "server/pipeline/leader.h"

#include <chrono>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/base/clock.h"
#include "server/pipeline/key.h"
#include "server/pipeline/remote_rest.h"

namespace hadal::pipeline {
namespace {

// A device that is not ready is Unavailable and tried again; the workers have been waited for already.
absl::Status Final(const absl::Status& status) {
  if (!absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status)) return status;
  return absl::FailedPreconditionError(status.message());
}

// The rest of the model, with what is counted and reported of it.
class WatchedRest : public models::ModelRest {
 public:
  explicit WatchedRest(const LeaderContext& context) : context_(context) {}

  absl::Status Open(RemoteRest::Options options, const Assignment& assignment) {
    // It is called once the rest below is there, or while it is made and nothing can be told of it yet.
    options.on_lost = [this] { ReportLost(); };
    auto opened = RemoteRest::Open(options, assignment);
    if (!opened.ok()) return opened.status();
    base::MutexLock lock(&mutex_);
    rest_ = *std::move(opened);
    return absl::OkStatus();
  }

  absl::Status AwaitLoaded() {
    absl::Status status = rest_->AwaitLoaded();
    if (status.ok()) context_.metrics->SetAllUp();
    return status;
  }

  absl::StatusOr<models::KvCacheSize> FitKvCache(const models::KvCacheSize& wanted) override {
    return rest_->FitKvCache(wanted);
  }
  absl::Status AllocateKvCache(const models::KvCacheSize& size) override { return rest_->AllocateKvCache(size); }
  absl::Status Send(const models::StepInput& input, absl::Span<const std::byte> state,
                    std::chrono::nanoseconds computed) override {
    return rest_->Send(input, state, computed);
  }
  absl::StatusOr<models::StepOutput> Receive() override {
    absl::StatusOr<models::StepOutput> output = rest_->Receive();
    if (output.ok()) context_.metrics->RecordStep(rest_->begun(), base::Clock::Real()->Now(), rest_->facts());
    return output;
  }

 private:
  void ReportLost() {
    base::MutexLock lock(&mutex_);
    if (rest_ == nullptr) return;  // the caller of Open or AwaitLoaded is told
    const Error lost = rest_->lost();
    context_.metrics->SetLost(lost.lost);
    context_.health->SetFailure(std::string(lost.status.message()));
    if (context_.on_failure) context_.on_failure();
  }

  const LeaderContext context_;
  base::Mutex mutex_;  // guards that rest_ is set, against ReportLost
  std::unique_ptr<RemoteRest> rest_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<models::Model>> LoadPipeline(models::LoadOptions load, const PipelineOptions& options,
                                                            const LeaderContext& context,
                                                            base::Notification* cancelled) {
  absl::StatusOr<std::string> key = ReadKey(options.key_file);
  if (!key.ok()) return key.status();
  const auto parts = static_cast<int>(options.workers.size()) + 1;
  const absl::StatusOr<std::vector<models::LayerRange>> layers = models::DivideLayers(load, parts, options.layers);
  if (!layers.ok()) {
    return absl::Status(layers.status().code(), absl::StrCat("--pipeline-workers: ", layers.status().message()));
  }
  const absl::StatusOr<models::CheckpointIdentity> identity = models::IdentifyCheckpoint(load);
  if (!identity.ok()) return identity.status();
  Assignment assignment = {.fingerprint = identity->fingerprint,
                           .dtype = identity->dtype,
                           .batch_invariant = load.batch_invariant,
                           .dummy_weights = load.load_format == models::LoadFormat::kDummy,
                           .max_model_len = identity->max_model_len,
                           .max_batch_tokens = load.max_batch_tokens,
                           .max_batch_size = load.max_batch_size,
                           .parts = {}};
  for (size_t i = 0; i < options.workers.size(); ++i)
    assignment.parts.push_back({options.workers[i], (*layers)[i + 1]});
  const RemoteRest::Options rest_options = {.key = *std::move(key),
                                            .version = context.version,
                                            .patience = options.patience,
                                            .cancelled = cancelled,
                                            .on_notice = context.notice,
                                            .on_lost = nullptr};
  auto rest = std::make_unique<WatchedRest>(context);
  if (absl::Status status = rest->Open(rest_options, assignment); !status.ok()) return Final(status);
  load.layers = layers->front();
  absl::StatusOr<std::unique_ptr<models::ModelPart>> part = models::LoadPart(load);
  if (!part.ok()) return part.status();
  // Requests lease what their blocks take here.
  const models::KvLayout& layout = (*part)->kv_layout();
  if (layout.block_bytes(layout.block_tokens_multiple()) == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--pipeline-layers: the server's ", layers->front().size(),
                     " layers keep nothing of a text beyond its window; it needs one more that does"));
  }
  if (absl::Status status = rest->AwaitLoaded(); !status.ok()) return Final(status);
  for (size_t i = 0; i < options.workers.size() && context.notice; ++i) {
    const models::LayerRange& range = (*layers)[i + 1];
    context.notice(absl::StrCat("worker ", options.workers[i], " holds layers [", range.begin, ", ", range.end, ")"));
  }
  return models::MakeModel(*std::move(part), std::move(rest), options.steps > 0 ? options.steps : parts);
}

}  // namespace hadal::pipeline
