// SPDX-License-Identifier: Apache-2.0
#include "kernels/backend.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"

namespace hadal::kernels {
namespace {

WeightScheme SchemeOf(const WeightView& weight) { return weight.scheme; }
WeightScheme SchemeOf(const GroupedWeightView& weight) { return weight.each.scheme; }

// For all ops at once, so that no kernel meets a scheme that it does not know.
template <typename Params>
absl::Status CheckSupport(const Backend& backend, absl::string_view op, const Params& params) {
  if constexpr (requires { SchemeOf(params.w); }) {
    const WeightScheme scheme = SchemeOf(params.w);
    if (!backend.SupportsWeights(scheme)) {
      return absl::UnimplementedError(absl::StrCat("backend ", backend.name(), ": ", op,
                                                   " has no kernel for weights of scheme ", WeightSchemeName(scheme)));
    }
  }
  if constexpr (requires { params.product.w; }) return CheckSupport(backend, op, params.product);
  if constexpr (requires { params.gate.w; }) return CheckSupport(backend, op, params.gate);
  return absl::OkStatus();
}

// Of a backend whose Download waits.
class WaitedReadback final : public Readback {
 public:
  explicit WaitedReadback(Backend* backend) : backend_(backend) {}

  absl::Status Begin(const void* device_source, int64_t bytes) override {
    copied_.resize(static_cast<size_t>(bytes));
    return backend_->Download(copied_.data(), device_source, bytes);
  }
  absl::StatusOr<const void*> Wait() override { return copied_.data(); }

 private:
  Backend* backend_;
  std::vector<std::byte> copied_;
};

void Feed(absl::Span<int32_t> ids, absl::Span<const int32_t> sampled) {
  for (int32_t& id : ids) {
    if (id >= 0) continue;
    const int64_t row = -1 - int64_t{id};
    id = row < static_cast<int64_t>(sampled.size()) ? std::max(0, sampled[row]) : 0;
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Readback>> Backend::MakeReadback(int64_t) {
  return std::make_unique<WaitedReadback>(this);
}

absl::Status Backend::CheckFilledBytes(int64_t bytes) {
  if (bytes >= 0 && bytes <= kMaxFilledBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("upload: expected 0 to ", kMaxFilledBytes, " bytes to be filled in, found ", bytes));
}

absl::Status Backend::UploadFilled(void* device_target, int64_t bytes,
                                   absl::FunctionRef<absl::Status(void* staged)> fill) {
  if (absl::Status s = CheckFilledBytes(bytes); !s.ok()) return s;
  if (host_accessible()) return fill(device_target);
  const std::unique_ptr<std::byte[]> staged(new std::byte[static_cast<size_t>(bytes)]);
  if (absl::Status s = fill(staged.get()); !s.ok()) return s;
  return Upload(device_target, staged.get(), bytes);
}

#define HADAL_CHECK_AND_RUN(Op)                                               \
  absl::Status Backend::Op(const Op##Params& params) {                        \
    if (absl::Status s = Check##Op(params); !s.ok()) return s;                \
    if (absl::Status s = CheckSupport(*this, #Op, params); !s.ok()) return s; \
    return Do##Op(params);                                                    \
  }
HADAL_FOR_EACH_OP(HADAL_CHECK_AND_RUN)
HADAL_FOR_EACH_FUSED_OP(HADAL_CHECK_AND_RUN)
#undef HADAL_CHECK_AND_RUN

absl::Status Backend::DoRopeKvAppend(const RopeKvAppendParams& p) {
  for (const RmsNormParams* norm : {&p.q_norm, &p.k_norm}) {
    if (!norm->x.present()) continue;
    if (absl::Status s = RmsNorm(*norm); !s.ok()) return s;
  }
  if (absl::Status s = Rope(p.rope); !s.ok()) return s;
  return KvAppend(p.append);
}

absl::Status Backend::DoGemmSiluMul(const GemmSiluMulParams& p) {
  if (absl::Status s = Gemm(p.product); !s.ok()) return s;
  return SiluMul(p.activation);
}

absl::Status Backend::DoGroupedGemmSiluMul(const GroupedGemmSiluMulParams& p) {
  if (absl::Status s = GroupedGemm(p.product); !s.ok()) return s;
  return SiluMul(p.activation);
}

absl::Status Backend::DoMoeGate(const MoeGateParams& p) {
  if (absl::Status s = Gemm(p.gate); !s.ok()) return s;
  return MoeRoute(p.route);
}

absl::Status Backend::DoFeedTokens(const FeedTokensParams& p) {
  const auto tokens = static_cast<size_t>(p.ids.size(0)), rows = static_cast<size_t>(p.sampled.size(0));
  if (host_accessible()) {
    Feed({p.ids.as<int32_t>(), tokens}, {p.sampled.as<const int32_t>(), rows});
    return absl::OkStatus();
  }
  std::vector<int32_t> ids(tokens), sampled(rows);
  if (absl::Status s = Download(ids.data(), p.ids.data, p.ids.bytes()); !s.ok()) return s;
  if (absl::Status s = Download(sampled.data(), p.sampled.data, p.sampled.bytes()); !s.ok()) return s;
  Feed(absl::MakeSpan(ids), sampled);
  return Upload(p.ids.data, ids.data(), p.ids.bytes());
}

}  // namespace hadal::kernels
