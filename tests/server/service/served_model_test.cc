// SPDX-License-Identifier: Apache-2.0
#include "server/service/served_model.h"

#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace hadal::service {
namespace {

using request::Reason;

std::shared_ptr<const ServedModel> Model(std::string name) {
  auto model = std::make_shared<ServedModel>();
  model->name = std::move(name);
  return model;
}

TEST(ModelTableTest, FindsByNameAndTheFirstByDefault) {
  ModelTable table;
  ASSERT_OK(table.Add(Model("a")));
  ASSERT_OK(table.Add(Model("b")));
  EXPECT_EQ(table.Find("")->model->name, "a");
  EXPECT_EQ(table.Find("b")->model->name, "b");
  EXPECT_EQ(table.Add(Model("b")).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(table.List().size(), 2u);
}

TEST(ModelTableTest, UnknownNamesAreLoadingUntilTheTableIsComplete) {
  ModelTable table;
  EXPECT_REASON(table.Find(""), Reason::kModelLoading);
  EXPECT_REASON(table.Find("a"), Reason::kModelLoading);
  ASSERT_OK(table.Add(Model("a")));
  EXPECT_OK(table.Find("a"));
  EXPECT_REASON(table.Find("b"), Reason::kModelLoading);
  table.MarkComplete();
  EXPECT_REASON(table.Find("b"), Reason::kModelNotFound);
  EXPECT_EQ(request::GetErrorDetail(table.Find("b").status()).param, "model");
}

TEST(ModelTableTest, AliasesTellTheMode) {
  ModelTable table;
  table.AddAlias("deepseek-chat", "", false);
  table.AddAlias("deepseek-reasoner", "a", true);
  table.AddAlias("loop", "loop");
  ASSERT_OK(table.Add(Model("a")));
  table.MarkComplete();
  EXPECT_EQ(table.Find("deepseek-chat")->thinking, false);
  EXPECT_EQ(table.Find("deepseek-reasoner")->thinking, true);
  EXPECT_EQ(table.Find("deepseek-reasoner")->model->name, "a");
  EXPECT_FALSE(table.Find("a")->thinking.has_value());
  EXPECT_REASON(table.Find("loop"), Reason::kModelNotFound);
}

}  // namespace
}  // namespace hadal::service
