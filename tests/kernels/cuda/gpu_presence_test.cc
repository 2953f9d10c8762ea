// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/gpu_presence.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hadal::kernels::cuda {
namespace {

using ::testing::HasSubstr;

// A folder that stands for "/", and an environment that hides nothing.
class GpuPresenceTest : public ::testing::Test {
 protected:
  GpuPresenceTest() : root_(::testing::TempDir() + "gpu_presence") {
    std::filesystem::remove_all(root_);
    unsetenv("CUDA_VISIBLE_DEVICES");
    unsetenv("NVIDIA_VISIBLE_DEVICES");
  }
  ~GpuPresenceTest() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }
  void AddPci(const std::string& slot, const std::string& vendor, const std::string& kind) {
    Write("/sys/bus/pci/devices/" + slot + "/vendor", vendor + "\n");
    Write("/sys/bus/pci/devices/" + slot + "/class", kind + "\n");
  }

  const std::string root_;
};

TEST_F(GpuPresenceTest, FindsNoneOnAMachineWithout) {
  EXPECT_EQ(FindNvidiaGpu(root_), "");
  Write("/dev/nvidiactl", "");  // of the driver, not of a device
  Write("/dev/nvidia-uvm", "");
  Write("/dev/nvidia", "");
  AddPci("0000:00:02.0", "0x8086", "0x030000");  // a display of somebody else
  AddPci("0000:00:03.0", "0x10de", "0x040300");  // NVIDIA's audio
  EXPECT_EQ(FindNvidiaGpu(root_), "");
}

TEST_F(GpuPresenceTest, FindsOneByFileDriverOrBus) {
  AddPci("0000:65:00.0", "0x10de", "0x030200");
  EXPECT_EQ(FindNvidiaGpu(root_), "/sys/bus/pci/devices/0000:65:00.0");
  Write("/proc/driver/nvidia/gpus/0000:65:00.0/information", "");
  EXPECT_EQ(FindNvidiaGpu(root_), "/proc/driver/nvidia/gpus/0000:65:00.0");
  Write("/dev/nvidia3", "");
  EXPECT_EQ(FindNvidiaGpu(root_), "/dev/nvidia3");
}

TEST_F(GpuPresenceTest, AnAbsentGpuIsNotFoundAndABrokenOneAFailure) {
  EXPECT_EQ(NoUsableGpu(true, "no device", root_).code(), absl::StatusCode::kNotFound);
  // CUDA's error says more than absence, whatever the machine shows.
  EXPECT_EQ(NoUsableGpu(false, "system not yet initialized", root_).code(), absl::StatusCode::kFailedPrecondition);
  Write("/dev/nvidia0", "");
  const absl::Status broken = NoUsableGpu(true, "driver too old", root_);
  EXPECT_EQ(broken.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(broken.message()), HasSubstr("driver too old, although there is one: /dev/nvidia0"));
}

TEST_F(GpuPresenceTest, AHiddenGpuIsAbsent) {
  Write("/dev/nvidia0", "");
  for (const auto& [name, value] : {std::pair{"CUDA_VISIBLE_DEVICES", ""}, std::pair{"CUDA_VISIBLE_DEVICES", "-1"},
                                    std::pair{"NVIDIA_VISIBLE_DEVICES", "void"}}) {
    setenv(name, value, 1);
    EXPECT_EQ(NoUsableGpu(true, "no device", root_).code(), absl::StatusCode::kNotFound) << name << "=" << value;
    unsetenv(name);
  }
  setenv("CUDA_VISIBLE_DEVICES", "0", 1);
  EXPECT_EQ(NoUsableGpu(true, "no device", root_).code(), absl::StatusCode::kFailedPrecondition);
  unsetenv("CUDA_VISIBLE_DEVICES");
}

}  // namespace
}  // namespace hadal::kernels::cuda
