// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/request/request.h"

namespace hadal::admission {

template <typename T>
using ByClass = std::array<T, request::kNumPriorities>;

// Parses "high=1s,low=30s": calls `set` with the class's rank and the text after its `=`. InvalidArgument, naming the
// class, if it is unknown or repeated or if `set` rejects the text. "" sets none.
absl::Status ParseClassValues(std::string_view text,
                              const std::function<absl::Status(int rank, std::string_view value)>& set);

// "high=A,low=C" of the texts that are not empty.
std::string ClassValuesText(const ByClass<std::string>& texts);

// A share from 0 to 1, such as "0.125".
absl::Status ParseShare(std::string_view text, double* share);

// `--class-floors` and back. Omitted classes get 0. InvalidArgument also if the sum is above 1.
absl::Status ParseClassShares(std::string_view text, ByClass<double>* shares);
std::string ClassSharesText(const ByClass<double>& shares);

// `--wait-limits` and back. Omitted classes get InfiniteDuration; "none" omits all.
absl::Status ParseClassDurations(std::string_view text, ByClass<absl::Duration>* durations);
std::string ClassDurationsText(const ByClass<absl::Duration>& durations);

}  // namespace hadal::admission
