// SPDX-License-Identifier: Apache-2.0
#include "server/commands/gpu_monitor.h"

#include <dlfcn.h>

#include <utility>

#include "absl/strings/str_cat.h"

namespace hadal::commands {
namespace {

// Of nvml.h, which only a machine with the toolkit has. Numbers and layouts are NVML's interface.
using Device = struct NvmlDevice*;
using EventSet = struct NvmlEventSet*;
using CountProcesses = int(Device, unsigned* count, void* infos);
constexpr int kSuccess = 0, kInsufficientSize = 7;
constexpr int kClockSm = 1;
constexpr unsigned long long kXidCriticalError = 8;
struct Utilization {
  unsigned gpu, memory;  // percent
};
struct Memory {
  unsigned long long total, free, used;
};
struct EventData {
  Device device;
  unsigned long long type, data;
  unsigned gpu_instance, compute_instance;
};

// Of compute capability 8 and above; NVML counts cores.
int64_t CoresOfMultiprocessor(int major, int minor) { return major == 8 && minor == 0 ? 64 : 128; }

class Nvml final : public GpuMonitor {
 public:
  ~Nvml() override {
    if (events_ != nullptr) event_set_free_(events_);
    if (started_) shutdown_();
    if (library_ != nullptr) dlclose(library_);
  }

  absl::Status Start(const std::string& pci_bus_id, const std::string& library) {
    library_ = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library_ == nullptr) return absl::NotFoundError(absl::StrCat("NVML: ", dlerror()));
    int (*start)() = nullptr;
    int (*find)(const char*, Device*) = nullptr;
    Load("nvmlInit_v2", start);
    Load("nvmlShutdown", shutdown_);
    Load("nvmlDeviceGetHandleByPciBusId_v2", find);
    Load("nvmlDeviceGetUtilizationRates", utilization_);
    Load("nvmlDeviceGetMemoryInfo", memory_);
    Load("nvmlDeviceGetComputeRunningProcesses_v3", processes_);
    Load("nvmlDeviceGetMPSComputeRunningProcesses_v3", mps_clients_);
    Load("nvmlDeviceGetClockInfo", clock_);
    if (start == nullptr || shutdown_ == nullptr || find == nullptr) {
      return absl::UnavailableError(absl::StrCat("NVML: ", library, " lacks what every version has"));
    }
    if (const int code = start(); code != kSuccess) return Refused("nvmlInit", code);
    started_ = true;
    if (const int code = find(pci_bus_id.c_str(), &device_); code != kSuccess) {
      return Refused(absl::StrCat("device ", pci_bus_id), code);
    }
    CountMultiprocessors();
    WatchErrors();
    return absl::OkStatus();
  }

  GpuReading Read() override {
    GpuReading reading;
    reading.multiprocessors = multiprocessors_;
    Utilization utilization = {};
    if (utilization_ != nullptr && utilization_(device_, &utilization) == kSuccess) {
      reading.utilization_ratio = utilization.gpu / 100.0;
    }
    Memory memory = {};
    if (memory_ != nullptr && memory_(device_, &memory) == kSuccess) {
      reading.memory_used_bytes = static_cast<int64_t>(memory.used);
      reading.memory_total_bytes = static_cast<int64_t>(memory.total);
    }
    reading.processes = Count(processes_);
    reading.mps_clients = Count(mps_clients_);
    unsigned megahertz = 0;
    if (clock_ != nullptr && clock_(device_, kClockSm, &megahertz) == kSuccess) {
      reading.sm_clock_hertz = int64_t{megahertz} * 1000000;
    }
    EventData event = {};
    while (events_ != nullptr && event_set_wait_(events_, &event, /*milliseconds=*/0) == kSuccess) {
      if (event.type == kXidCriticalError) reading.xids.push_back(event.data);
    }
    return reading;
  }

 private:
  template <typename Function>
  void Load(const char* name, Function& function) {
    function = reinterpret_cast<Function>(dlsym(library_, name));
  }

  static absl::Status Refused(const std::string& what, int code) {
    return absl::UnavailableError(absl::StrCat("NVML: ", what, ": error ", code));
  }

  std::optional<int64_t> Count(CountProcesses* list) const {
    unsigned count = 0;  // asked for the number alone
    const int code = list != nullptr ? list(device_, &count, nullptr) : -1;
    if (code != kSuccess && code != kInsufficientSize) return std::nullopt;
    return count;
  }

  void CountMultiprocessors() {
    int (*cores_of)(Device, unsigned*) = nullptr;
    int (*capability_of)(Device, int*, int*) = nullptr;
    Load("nvmlDeviceGetNumGpuCores", cores_of);
    Load("nvmlDeviceGetCudaComputeCapability", capability_of);
    unsigned cores = 0;
    int major = 0, minor = 0;
    if (cores_of == nullptr || cores_of(device_, &cores) != kSuccess) return;
    if (capability_of == nullptr || capability_of(device_, &major, &minor) != kSuccess || major < 8) return;
    multiprocessors_ = cores / CoresOfMultiprocessor(major, minor);
  }

  void WatchErrors() {
    int (*create)(EventSet*) = nullptr;
    int (*watch)(Device, unsigned long long, EventSet) = nullptr;
    Load("nvmlEventSetCreate", create);
    Load("nvmlEventSetFree", event_set_free_);
    Load("nvmlEventSetWait_v2", event_set_wait_);
    Load("nvmlDeviceRegisterEvents", watch);
    if (create == nullptr || event_set_free_ == nullptr || event_set_wait_ == nullptr || watch == nullptr) return;
    if (create(&events_) != kSuccess) {
      events_ = nullptr;
    } else if (watch(device_, kXidCriticalError, events_) != kSuccess) {
      event_set_free_(std::exchange(events_, nullptr));
    }
  }

  void* library_ = nullptr;
  bool started_ = false;
  Device device_ = nullptr;
  EventSet events_ = nullptr;
  std::optional<int64_t> multiprocessors_;
  int (*shutdown_)() = nullptr;
  int (*utilization_)(Device, Utilization*) = nullptr;
  int (*memory_)(Device, Memory*) = nullptr;
  CountProcesses* processes_ = nullptr;
  CountProcesses* mps_clients_ = nullptr;
  int (*clock_)(Device, int, unsigned*) = nullptr;
  int (*event_set_free_)(EventSet) = nullptr;
  int (*event_set_wait_)(EventSet, EventData*, unsigned) = nullptr;
};

}  // namespace

absl::StatusOr<std::unique_ptr<GpuMonitor>> GpuMonitor::Open(const std::string& pci_bus_id,
                                                             const std::string& library) {
  auto nvml = std::make_unique<Nvml>();
  if (absl::Status status = nvml->Start(pci_bus_id, library); !status.ok()) return status;
  return std::unique_ptr<GpuMonitor>(std::move(nvml));
}

}  // namespace hadal::commands
