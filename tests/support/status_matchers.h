// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "server/request/refusal.h"

namespace hadal::testing {

inline const absl::Status& GetStatus(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& GetStatus(const absl::StatusOr<T>& status) {
  return status.status();
}

}  // namespace hadal::testing

#define ASSERT_OK(expression) ASSERT_EQ(::hadal::testing::GetStatus(expression), absl::OkStatus())
#define EXPECT_OK(expression) EXPECT_EQ(::hadal::testing::GetStatus(expression), absl::OkStatus())
// The status carries that request::Reason.
#define EXPECT_REASON(expression, expected)                                                                           \
  EXPECT_EQ(                                                                                                          \
      ::hadal::request::ReasonName(::hadal::request::GetErrorDetail(::hadal::testing::GetStatus(expression)).reason), \
      ::hadal::request::ReasonName(expected))
