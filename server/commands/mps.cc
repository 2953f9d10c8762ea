// SPDX-License-Identifier: Apache-2.0
#include "server/commands/mps.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace hadal::commands {
namespace {

constexpr char kPipeDirectory[] = "CUDA_MPS_PIPE_DIRECTORY", kDefaultPipeDirectory[] = "/tmp/nvidia-mps";
constexpr char kMemoryLimit[] = "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT";
constexpr char kThreadPercentage[] = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE";
constexpr char kClientPriority[] = "CUDA_MPS_CLIENT_PRIORITY";  // 0: normal, 1: below
constexpr char kNoDirectory[] = "/nonexistent/hadal-without-mps";
constexpr char kPayload[] = "hadal/mps";
constexpr absl::Duration kFirstDelay = absl::Seconds(1), kPatience = absl::Seconds(31);

class SystemProbe final : public MpsProbe {
 public:
  std::string Environment(const std::string& name) const override {
    const char* value = std::getenv(name.c_str());
    return value != nullptr ? value : "";
  }
  void SetEnvironment(const std::string& name, const std::string& value) override {
    setenv(name.c_str(), value.c_str(), 1);
  }
  bool Accepts(const std::string& socket) const override {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    if (socket.size() >= sizeof(address.sun_path)) return false;
    std::memcpy(address.sun_path, socket.c_str(), socket.size());
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return false;
    const bool accepted = connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
    close(fd);
    return accepted;
  }
};

absl::Status MpsError(std::string message) {
  absl::Status status = absl::FailedPreconditionError(std::move(message));
  status.SetPayload(kPayload, absl::Cord());
  return status;
}

int DeviceIndex(const std::string& device) {
  int index = 0;
  const std::vector<std::string> parts = absl::StrSplit(device, ':');
  return parts.size() == 2 && absl::SimpleAtoi(parts[1], &index) ? index : 0;
}

// Bytes of "6G", "512M", "4096K" (powers of two); a plain number is MiB, as the daemon has it.
std::optional<int64_t> LimitBytes(absl::string_view text) {
  int shift = 20;
  if (absl::ConsumeSuffix(&text, "K")) {
    shift = 10;
  } else if (absl::ConsumeSuffix(&text, "G")) {
    shift = 30;
  } else {
    absl::ConsumeSuffix(&text, "M");
  }
  int32_t number = 0;
  if (!absl::SimpleAtoi(text, &number) || number < 1) return std::nullopt;
  return int64_t{number} << shift;
}

// The entry for the device. Keys are numbers of visible devices or UUIDs; one UUID is taken for ours.
absl::Status ReadMemoryLimit(const std::string& text, int device_index, int visible_devices, MpsState& state) {
  const std::vector<std::string> entries = absl::StrSplit(text, ',', absl::SkipWhitespace());
  for (const std::string& entry : entries) {
    const std::vector<std::string> parts = absl::StrSplit(entry, '=');
    std::optional<int64_t> bytes;
    if (parts.size() == 2) bytes = LimitBytes(absl::StripAsciiWhitespace(parts[1]));
    if (!bytes.has_value()) {
      return MpsError(absl::StrCat(kMemoryLimit, " is '", text, "'; expected DEVICE=BYTES[,...] such as 0=6G"));
    }
    int index = 0;
    const bool numbered = absl::SimpleAtoi(parts[0], &index);
    if (numbered && visible_devices > 0 && index >= visible_devices) {
      state.warnings.push_back(absl::StrCat(kMemoryLimit, " names device ", index, ", which is not visible: CUDA then ",
                                            "drops every limit; ", visible_devices, " visible"));
      state.memory_limit_bytes = 0;
      return absl::OkStatus();
    }
    if (!numbered || index == device_index) state.memory_limit_bytes = *bytes;
  }
  return absl::OkStatus();
}

absl::Status ReadLimits(const MpsProbe& probe, int device_index, MpsState& state) {
  const std::string percentage = probe.Environment(kThreadPercentage);
  double percent = 100;
  if (!percentage.empty() && (!absl::SimpleAtod(percentage, &percent) || percent <= 0 || percent > 100)) {
    return MpsError(absl::StrCat(kThreadPercentage, " is '", percentage, "'; expected a number above 0, at most 100"));
  }
  state.active_thread_ratio = percent / 100;
  const std::string visible = probe.Environment("CUDA_VISIBLE_DEVICES");
  const int visible_devices =
      visible.empty() ? 0 : static_cast<int>(std::vector<std::string>(absl::StrSplit(visible, ',')).size());
  return ReadMemoryLimit(probe.Environment(kMemoryLimit), device_index, visible_devices, state);
}

void SetPriority(MpsPriority priority, MpsProbe& probe, MpsState& state) {
  if (priority != MpsPriority::kInherited) {
    probe.SetEnvironment(kClientPriority, priority == MpsPriority::kBelowNormal ? "1" : "0");
  }
  state.below_normal = probe.Environment(kClientPriority) == "1";
}

}  // namespace

MpsProbe& MpsProbe::System() {
  static SystemProbe probe;
  return probe;
}

std::string MpsState::ToString() const {
  if (!used) return absl::StrCat("MPS: not used, ", where);
  std::string text = absl::StrCat("MPS: daemon at ", where);
  if (memory_limit_bytes > 0) absl::StrAppend(&text, ", memory limit ", memory_limit_bytes, " bytes");
  if (active_thread_ratio < 1) absl::StrAppendFormat(&text, ", at most %g of the threads", active_thread_ratio);
  if (below_normal) absl::StrAppend(&text, ", below normal priority");
  return text;
}

absl::StatusOr<MpsState> PrepareMps(const ModelOptions& options, MpsProbe& probe) {
  const MpsMode mode = options.mps;
  const std::string device = options.memory_device();
  MpsState state;
  if (device == "cpu" || device == "torch:cpu") {
    if (mode == MpsMode::kRequire) return MpsError("--mps=require needs a GPU, and --device is cpu");
    state.where = "the device is the CPU";
    return state;
  }
  const std::string wanted = probe.Environment(kPipeDirectory);
  state.where = wanted.empty() ? kDefaultPipeDirectory : wanted;
  const bool answers = probe.Accepts(state.where + "/control");
  if (mode == MpsMode::kOff) {
    if (answers) probe.SetEnvironment(kPipeDirectory, kNoDirectory);
    state.where = answers ? "--mps=off passes by the daemon" : "no daemon answers";
    return state;
  }
  if (!answers) {
    if (mode == MpsMode::kRequire) {
      return MpsError(absl::StrCat("--mps=require: no MPS daemon answers at ", state.where, "/control; start ",
                                   "nvidia-cuda-mps-control -d there, or set ", kPipeDirectory));
    }
    const bool limits = !probe.Environment(kMemoryLimit).empty() || !probe.Environment(kThreadPercentage).empty();
    if (!wanted.empty() || limits) {
      state.warnings.push_back(absl::StrCat("no MPS daemon answers at ", state.where,
                                            "/control, though the environment speaks of one: CUDA runs without it, ",
                                            "and without its limits"));
    }
    if (options.mps_priority != MpsPriority::kInherited) {
      state.warnings.push_back("--mps-client-priority has no effect: no MPS daemon answers");
    }
    state.where = absl::StrCat("no daemon answers at ", state.where);
    return state;
  }
  state.used = true;
  SetPriority(options.mps_priority, probe, state);
  if (absl::Status status = ReadLimits(probe, DeviceIndex(device), state); !status.ok()) return status;
  return state;
}

absl::Status CheckMps(MpsMode mode, const MpsState& state, const models::DeviceFacts& facts) {
  if (mode != MpsMode::kRequire || facts.mps) return absl::OkStatus();
  return MpsError(
      absl::StrCat("--mps=require: a daemon answers at ", state.where, ", but the device does not run under it"));
}

absl::Status OpenWhenMpsIsReady(absl::FunctionRef<absl::Status()> open,
                                absl::FunctionRef<bool(absl::Duration delay, const absl::Status& reason)> wait) {
  absl::Duration waited;
  for (absl::Duration delay = kFirstDelay;; delay *= 2) {
    const absl::Status status = open();
    if (!absl::IsUnavailable(status)) return status;
    if (waited + delay > kPatience) {
      return MpsError(absl::StrCat(status.message(), "; tried for ", absl::FormatDuration(waited)));
    }
    if (!wait(delay, status)) return status;
    waited += delay;
  }
}

bool IsMpsError(const absl::Status& status) { return status.GetPayload(kPayload).has_value(); }

}  // namespace hadal::commands
