// SPDX-License-Identifier: Apache-2.0
#include "kernels/swapped_ops.h"

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "kernels/uniform_backend.h"

namespace hadal::kernels {
namespace {

// "PagedAttention" as "paged_attention".
std::string SnakeCase(absl::string_view name) {
  std::string snake;
  for (const char c : name) {
    if (absl::ascii_isupper(c) && !snake.empty()) snake += '_';
    snake += absl::ascii_tolower(c);
  }
  return snake;
}

std::vector<std::string> OpNames() {
  std::vector<std::string> names;
#define HADAL_OP_NAME(Op) names.push_back(SnakeCase(#Op));
  HADAL_FOR_EACH_OP(HADAL_OP_NAME)
#undef HADAL_OP_NAME
  return names;
}

class SwappedOps final : public UniformBackend<SwappedOps> {
 public:
  SwappedOps(std::unique_ptr<Backend> base, std::unique_ptr<Backend> other, std::set<std::string> swapped,
             std::function<absl::Status()> enter)
      : base_(std::move(base)), other_(std::move(other)), swapped_(std::move(swapped)), enter_(std::move(enter)) {}

  absl::string_view name() const override { return base_->name(); }
  std::string description() const override {
    return absl::StrCat(base_->description(), "; ", other_->description(), ": ", absl::StrJoin(swapped_, ", "));
  }
  std::string device() const override { return base_->device(); }
  bool host_accessible() const override { return base_->host_accessible(); }
  bool SupportsWeights(WeightScheme scheme) const override { return base_->SupportsWeights(scheme); }

  absl::StatusOr<Buffer> Allocate(int64_t bytes) override { return base_->Allocate(bytes); }
  absl::StatusOr<DeviceMemory> Memory() override { return base_->Memory(); }
  BackendCounters Counters() const override { return base_->Counters(); }
  BackendFacts Facts() const override { return base_->Facts(); }
  int64_t ScratchBytes(const StepBounds& bounds) const override { return base_->ScratchBytes(bounds); }
  absl::Status Reserve(const StepBounds& bounds) override { return base_->Reserve(bounds); }
  absl::StatusOr<std::unique_ptr<Readback>> MakeReadback(int64_t bytes) override { return base_->MakeReadback(bytes); }
  void BeginWarmUp() override { base_->BeginWarmUp(); }
  void EndWarmUp() override { base_->EndWarmUp(); }
  int64_t ListBytes(const StepBounds& bounds) const override { return base_->ListBytes(bounds); }
  absl::Status BeginStep(const StepLists& lists) override { return base_->BeginStep(lists); }
  absl::Status Upload(void* target, const void* source, int64_t bytes) override {
    return base_->Upload(target, source, bytes);
  }
  absl::Status UploadFilled(void* target, int64_t bytes, absl::FunctionRef<absl::Status(void* staged)> fill) override {
    return base_->UploadFilled(target, bytes, fill);
  }
  absl::Status Download(void* target, const void* source, int64_t bytes) override {
    return base_->Download(target, source, bytes);
  }
  absl::Status Copy(void* target, const void* source, int64_t bytes) override {
    return base_->Copy(target, source, bytes);
  }
  absl::Status Zero(void* target, int64_t bytes) override { return base_->Zero(target, bytes); }
  absl::Status Synchronize() override { return base_->Synchronize(); }

 private:
  friend UniformBackend<SwappedOps>;

  template <typename Params>
  absl::Status RunOp(const Params& params) {
    static const auto* const op = new std::string(SnakeCase(OpTraits<Params>::kName));
    constexpr auto kMethod = OpTraits<Params>::kMethod;
    if (!swapped_.contains(*op)) return ((*base_).*kMethod)(params);
    if (enter_) {
      if (absl::Status s = enter_(); !s.ok()) return s;
    }
    return ((*other_).*kMethod)(params);
  }

  void Free(void*, int64_t) override {}  // its buffers are base's

  const std::unique_ptr<Backend> base_, other_;
  const std::set<std::string> swapped_;
  const std::function<absl::Status()> enter_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> SwapOps(std::unique_ptr<Backend> base, std::unique_ptr<Backend> other,
                                                 absl::string_view ops, std::function<absl::Status()> enter) {
  const std::vector<std::string> known = OpNames();
  const std::set<std::string> names(known.begin(), known.end());
  std::set<std::string> swapped;
  for (const absl::string_view op : absl::StrSplit(ops, ',')) {
    if (!swapped.emplace(absl::StripAsciiWhitespace(op)).second) continue;
    if (!names.contains(std::string(absl::StripAsciiWhitespace(op)))) {
      return absl::InvalidArgumentError(
          absl::StrCat("swapped ops: expected some of ", absl::StrJoin(known, ", "), "; found '", op, "'"));
    }
  }
  return std::make_unique<SwappedOps>(std::move(base), std::move(other), std::move(swapped), std::move(enter));
}

}  // namespace hadal::kernels
