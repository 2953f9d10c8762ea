// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/gpu_presence.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"

namespace hadal::kernels::cuda {
namespace {

namespace fs = std::filesystem;

// Names in a folder, sorted; none when it cannot be read.
std::vector<std::string> Names(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string FirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

bool NamesGpu(const std::string& name) {
  constexpr absl::string_view kPrefix = "nvidia";
  return name.size() > kPrefix.size() && name.compare(0, kPrefix.size(), kPrefix.data(), kPrefix.size()) == 0 &&
         std::all_of(name.begin() + kPrefix.size(), name.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
}

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

}  // namespace

std::string FindNvidiaGpu(const std::string& root) {
  const std::string base = root.empty() || root.back() != '/' ? root + "/" : root;
  for (const std::string& name : Names(base + "dev")) {
    if (NamesGpu(name)) return "/dev/" + name;
  }
  for (const std::string& name : Names(base + "proc/driver/nvidia/gpus")) return "/proc/driver/nvidia/gpus/" + name;
  for (const std::string& name : Names(base + "sys/bus/pci/devices")) {
    const std::string device = "sys/bus/pci/devices/" + name;
    const bool nvidia = FirstLine(base + device + "/vendor") == "0x10de";
    const bool display = FirstLine(base + device + "/class").compare(0, 4, "0x03") == 0;
    if (nvidia && display) return "/" + device;
  }
  return "";
}

bool GpusAreHidden() {
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  // The list ends at the first entry that names no device.
  if (visible != nullptr && (*visible == '\0' || *visible == '-')) return true;
  const std::string given = Environment("NVIDIA_VISIBLE_DEVICES");
  return given == "void" || given == "none";
}

absl::Status NoUsableGpu(bool code_of_absence, absl::string_view cuda_error, const std::string& root) {
  const std::string found = FindNvidiaGpu(root);
  if (code_of_absence && (found.empty() || GpusAreHidden())) {
    return absl::NotFoundError(absl::StrCat("cuda: there is no NVIDIA GPU: ", cuda_error));
  }
  return absl::FailedPreconditionError(
      absl::StrCat("cuda: no usable GPU: ", cuda_error, found.empty() ? "" : ", although there is one: ", found));
}

}  // namespace hadal::kernels::cuda
