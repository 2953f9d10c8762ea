// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/cpu_backend.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/context.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/isa.h"
#include "kernels/host_backend.h"

namespace hadal::kernels {
namespace {

constexpr int kMaxThreads = 1024;

class CpuBackend final : public HostBackend {
 public:
  CpuBackend(cpu::Isa isa, int threads, int64_t budget_bytes) : HostBackend(budget_bytes), context_(isa, threads) {}

  absl::string_view name() const override { return "cpu"; }
  std::string description() const override {
    return absl::StrCat("cpu, ", cpu::IsaName(context_.isa), ", ", context_.pool.threads(),
                        context_.pool.threads() == 1 ? " thread" : " threads");
  }

 protected:
#define HADAL_RUN_OP(Op)                                   \
  absl::Status Do##Op(const Op##Params& params) override { \
    cpu::Op(context_, params);                             \
    return absl::OkStatus();                               \
  }
  HADAL_FOR_EACH_OP(HADAL_RUN_OP)
#undef HADAL_RUN_OP

 private:
  cpu::Context context_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> CreateCpuBackend(const Backend::Options& options) {
  absl::StatusOr<cpu::Isa> isa = cpu::ChooseIsa(options.isa);
  if (!isa.ok()) return isa.status();
  if (options.threads < 0 || options.threads > kMaxThreads) {
    return absl::InvalidArgumentError(
        absl::StrCat("cpu threads: expected 0 to ", kMaxThreads, ", found ", options.threads));
  }
  const int cores = std::clamp<int>(static_cast<int>(std::thread::hardware_concurrency()), 1, kMaxThreads);
  return std::unique_ptr<Backend>(
      std::make_unique<CpuBackend>(*isa, options.threads > 0 ? options.threads : cores, options.memory_budget_bytes));
}

}  // namespace hadal::kernels
