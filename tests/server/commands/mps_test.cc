// SPDX-License-Identifier: Apache-2.0
#include "server/commands/mps.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hadal::commands {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class FakeProbe : public MpsProbe {
 public:
  std::string Environment(const std::string& name) const override {
    const auto found = environment.find(name);
    return found != environment.end() ? found->second : "";
  }
  void SetEnvironment(const std::string& name, const std::string& value) override { environment[name] = value; }
  bool Accepts(const std::string& socket) const override { return daemons.count(socket) > 0; }

  std::map<std::string, std::string> environment;
  std::set<std::string> daemons;
};

class MpsTest : public ::testing::Test {
 protected:
  void StartDaemon(const std::string& directory = "/tmp/nvidia-mps") { probe_.daemons.insert(directory + "/control"); }
  absl::StatusOr<MpsState> Prepare(MpsMode mode, const std::string& device = "cuda") {
    options_.mps = mode;
    options_.load.device = device;
    return PrepareMps(options_, probe_);
  }
  std::string& operator[](const std::string& name) { return probe_.environment[name]; }

  ModelOptions options_;
  FakeProbe probe_;
};

TEST_F(MpsTest, AutoUsesADaemonThatAnswers) {
  EXPECT_FALSE(Prepare(MpsMode::kAuto)->used);
  EXPECT_THAT(Prepare(MpsMode::kAuto)->warnings, IsEmpty());
  StartDaemon();
  const auto state = Prepare(MpsMode::kAuto);
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_TRUE(state->used);
  EXPECT_EQ(state->ToString(), "MPS: daemon at /tmp/nvidia-mps");
  EXPECT_EQ(state->active_thread_ratio, 1);
}

// CUDA would say nothing.
TEST_F(MpsTest, AutoWarnsOfADaemonThatDoesNotAnswer) {
  (*this)["CUDA_MPS_PIPE_DIRECTORY"] = "/mps/pipe";
  StartDaemon();  // elsewhere
  const auto state = Prepare(MpsMode::kAuto);
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_FALSE(state->used);
  EXPECT_THAT(state->warnings, ElementsAre(HasSubstr("no MPS daemon answers at /mps/pipe/control")));
}

TEST_F(MpsTest, RequireRefusesWithoutADaemon) {
  const absl::Status refused = Prepare(MpsMode::kRequire).status();
  EXPECT_TRUE(IsMpsError(refused));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("--mps=require: no MPS daemon answers at /tmp/nvidia-mps"));
  EXPECT_TRUE(IsMpsError(Prepare(MpsMode::kRequire, "cpu").status()));
  StartDaemon();
  EXPECT_TRUE(Prepare(MpsMode::kRequire)->used);
  EXPECT_FALSE(IsMpsError(absl::OkStatus()));
  EXPECT_FALSE(IsMpsError(absl::InternalError("another")));
}

TEST_F(MpsTest, RequireAsksTheDeviceToo) {
  StartDaemon();
  const MpsState state = *Prepare(MpsMode::kRequire);
  EXPECT_EQ(CheckMps(MpsMode::kRequire, state, {.mps = true}), absl::OkStatus());
  const absl::Status alone = CheckMps(MpsMode::kRequire, state, {.mps = false});
  EXPECT_TRUE(IsMpsError(alone));
  EXPECT_THAT(std::string(alone.message()), HasSubstr("does not run under it"));
  EXPECT_EQ(CheckMps(MpsMode::kAuto, state, {.mps = false}), absl::OkStatus());
}

TEST_F(MpsTest, OffPassesByTheDaemon) {
  EXPECT_FALSE(Prepare(MpsMode::kOff)->used);
  EXPECT_EQ((*this)["CUDA_MPS_PIPE_DIRECTORY"], "");  // nothing to pass by
  StartDaemon();
  EXPECT_FALSE(Prepare(MpsMode::kOff)->used);
  EXPECT_FALSE(Prepare(MpsMode::kAuto)->used);  // as CUDA will see it: there is nothing at the new place
}

TEST_F(MpsTest, LimitsAreThoseOfTheDevice) {
  StartDaemon();
  (*this)["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] = "0=6G, 1=512M";
  (*this)["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] = "25";
  EXPECT_EQ(Prepare(MpsMode::kAuto)->memory_limit_bytes, int64_t{6} << 30);
  EXPECT_EQ(Prepare(MpsMode::kAuto, "cuda:1")->memory_limit_bytes, int64_t{512} << 20);
  EXPECT_EQ(Prepare(MpsMode::kAuto, "cuda:2")->memory_limit_bytes, 0);
  EXPECT_EQ(Prepare(MpsMode::kAuto)->active_thread_ratio, 0.25);
  EXPECT_EQ(Prepare(MpsMode::kAuto)->ToString(),
            "MPS: daemon at /tmp/nvidia-mps, memory limit 6442450944 bytes, at most 0.25 of the threads");
  (*this)["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] = "GPU-1234=100";  // MiB
  EXPECT_EQ(Prepare(MpsMode::kAuto)->memory_limit_bytes, int64_t{100} << 20);
}

// One entry for a device that is not visible, and CUDA drops them all.
TEST_F(MpsTest, ALimitOfAnInvisibleDeviceIsATrap) {
  StartDaemon();
  (*this)["CUDA_VISIBLE_DEVICES"] = "3";
  (*this)["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] = "0=6G,1=6G";
  const auto state = Prepare(MpsMode::kAuto);
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->memory_limit_bytes, 0);
  EXPECT_THAT(state->warnings, ElementsAre(HasSubstr("names device 1, which is not visible")));
}

TEST_F(MpsTest, LimitsThatCannotBeReadAreRefused) {
  StartDaemon();
  for (const char* text : {"6G", "0=lots", "0=1G=2G"}) {
    (*this)["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] = text;
    const absl::Status refused = Prepare(MpsMode::kAuto).status();
    EXPECT_TRUE(IsMpsError(refused)) << text;
    EXPECT_THAT(std::string(refused.message()), HasSubstr(text));
  }
  (*this)["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] = "";
  for (const char* text : {"0", "101", "many"}) {
    (*this)["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] = text;
    EXPECT_TRUE(IsMpsError(Prepare(MpsMode::kAuto).status())) << text;
  }
}

TEST_F(MpsTest, ThePriorityIsToldToCuda) {
  options_.mps_priority = MpsPriority::kBelowNormal;
  EXPECT_THAT(Prepare(MpsMode::kAuto)->warnings, ElementsAre(HasSubstr("--mps-client-priority has no effect")));
  StartDaemon();
  const auto state = Prepare(MpsMode::kAuto);
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_THAT(state->warnings, IsEmpty());
  EXPECT_EQ((*this)["CUDA_MPS_CLIENT_PRIORITY"], "1");
  EXPECT_EQ(state->ToString(), "MPS: daemon at /tmp/nvidia-mps, below normal priority");
  options_.mps_priority = MpsPriority::kInherited;
  EXPECT_TRUE(Prepare(MpsMode::kAuto)->below_normal) << "as the environment says";
  options_.mps_priority = MpsPriority::kNormal;
  EXPECT_FALSE(Prepare(MpsMode::kAuto)->below_normal);
  EXPECT_EQ((*this)["CUDA_MPS_CLIENT_PRIORITY"], "0");
}

TEST_F(MpsTest, AServerThatIsNotReadyIsAskedAgain) {
  int attempts = 0;
  std::vector<absl::Duration> delays;
  const auto ready_at = [&](int attempt) {
    return [&, attempt] { return ++attempts < attempt ? absl::UnavailableError("not ready") : absl::OkStatus(); };
  };
  const auto wait = [&](absl::Duration delay, const absl::Status&) {
    delays.push_back(delay);
    return true;
  };
  EXPECT_EQ(OpenWhenMpsIsReady(ready_at(4), wait), absl::OkStatus());
  EXPECT_EQ(attempts, 4);
  EXPECT_THAT(delays, ElementsAre(absl::Seconds(1), absl::Seconds(2), absl::Seconds(4)));
  attempts = 0;
  const absl::Status never = OpenWhenMpsIsReady(ready_at(1000), wait);
  EXPECT_TRUE(IsMpsError(never));
  EXPECT_EQ(never.message(), "not ready; tried for 31s");
  EXPECT_EQ(attempts, 6);
}

TEST_F(MpsTest, OtherErrorsAndACancelledWaitEndTheAttempts) {
  int attempts = 0;
  const auto fails = [&] {
    ++attempts;
    return absl::NotFoundError("no file");
  };
  const auto wait = [](absl::Duration, const absl::Status&) { return false; };
  EXPECT_EQ(OpenWhenMpsIsReady(fails, wait).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(attempts, 1);
  const auto not_ready = [&] {
    ++attempts;
    return absl::UnavailableError("not ready");
  };
  EXPECT_EQ(OpenWhenMpsIsReady(not_ready, wait).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(attempts, 2);
}

TEST_F(MpsTest, TheSystemProbeConnects) {
  const std::string path = ::testing::TempDir() + "mps_" + std::to_string(getpid());
  EXPECT_FALSE(MpsProbe::System().Accepts(path));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  ASSERT_LT(path.size(), sizeof(address.sun_path));
  std::memcpy(address.sun_path, path.c_str(), path.size());
  const int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(listener, 1), 0);
  EXPECT_TRUE(MpsProbe::System().Accepts(path));
  close(listener);
  EXPECT_FALSE(MpsProbe::System().Accepts(path));  // the file is still there, nobody listens
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace hadal::commands
