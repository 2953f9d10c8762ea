// SPDX-License-Identifier: Apache-2.0
//
// The cache of a model on several hosts: the host with the least room sets it.
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/pipeline/worker_fixture.h"

namespace hadal::pipeline {
namespace {

using ::testing::HasSubstr;
using testing::WorkerTest;

TEST_F(WorkerTest, TheSmallestHostSetsTheCache) {
  models::LoadOptions load = Load();
  load.layers = models::LayerRange{1, 2};
  auto part = models::LoadPart(load);
  ASSERT_TRUE(part.ok()) << part.status();
  const int64_t fixed = (*part)->info().weights_bytes + (*part)->WorkspaceBytes(64, 4);
  const auto roomy = Start(), tight = Start(fixed + 5 * (*part)->kv_layout().block_bytes(16));
  // Three layers for three hosts: the tight one holds the layer that was measured.
  auto model = Lead({tight.get(), roomy.get()});
  ASSERT_TRUE(model.ok()) << model.status();
  const auto fits = (*model)->FitKvCache({100, 16});
  ASSERT_TRUE(fits.ok()) << fits.status();
  EXPECT_EQ(*fits, (models::KvCacheSize{5, 16}));
  EXPECT_EQ((*model)->FitKvCache({3, 16})->blocks, 3);
  const absl::Status status = (*model)->AllocateKvCache({6, 16});
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("a cache of 6 blocks and 0 window blocks, limit 5"));
}

TEST_F(WorkerTest, AHostWithoutRoomIsNamed) {
  const auto worker = Start(/*budget=*/1000);
  auto model = Lead({worker.get()});
  ASSERT_TRUE(model.ok()) << model.status();
  const absl::Status status = (*model)->FitKvCache({100, 16}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat("worker 127.0.0.1:", worker->port())));
  EXPECT_THAT(std::string(status.message()), HasSubstr("the budget is 1000 bytes"));
}

TEST_F(WorkerTest, AServerWithSlidingLayersAloneIsRefused) {
  std::ofstream(folder_ / "config.json") << models::testing::kTinyDeepseekV4;
  const auto worker = Start();
  counts_ = {1, 3};
  EXPECT_THAT(std::string(Lead({worker.get()}).status().message()), HasSubstr("the server's 1 layers keep nothing"));
}

}  // namespace
}  // namespace hadal::pipeline
