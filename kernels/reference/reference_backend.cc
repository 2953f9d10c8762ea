// SPDX-License-Identifier: Apache-2.0
#include "kernels/reference/reference_backend.h"

#include "kernels/host_backend.h"
#include "kernels/reference/reference_ops.h"

namespace hadal::kernels {
namespace {

class ReferenceBackend final : public HostBackend {
 public:
  using HostBackend::HostBackend;

  absl::string_view name() const override { return "reference"; }
  std::string description() const override { return "reference, 1 thread"; }

 protected:
#define HADAL_RUN_OP(Op)                                   \
  absl::Status Do##Op(const Op##Params& params) override { \
    reference::Op(params);                                 \
    return absl::OkStatus();                               \
  }
  HADAL_FOR_EACH_OP(HADAL_RUN_OP)
#undef HADAL_RUN_OP
};

}  // namespace

std::unique_ptr<Backend> CreateReferenceBackend(const Backend::Options& options) {
  return std::make_unique<ReferenceBackend>(options.memory_budget_bytes);
}

}  // namespace hadal::kernels
