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

// Reads "high=1s,low=30s": calls `set` with the class's rank and the text after its `=`. InvalidArgument for an unknown
// or repeated class and for what `set` does not take; it names the class. "" sets none.
absl::Status ParseClassValues(std::string_view text,
                              const std::function<absl::Status(int rank, std::string_view value)>& set);

// "high=A,low=C" of the texts that are not empty.
std::string ClassValuesText(const ByClass<std::string>& texts);

// A share from 0 to 1, such as "0.125".
absl::Status ParseShare(std::string_view text, double* share);

// `--class-floors` and back. Classes that are left out get 0. InvalidArgument, too, when the sum is above 1.
absl::Status ParseClassShares(std::string_view text, ByClass<double>* shares);
std::string ClassSharesText(const ByClass<double>& shares);

// `--wait-limits` and back. Classes that are left out get InfiniteDuration; "none" leaves out all.
absl::Status ParseClassDurations(std::string_view text, ByClass<absl::Duration>* durations);
std::string ClassDurationsText(const ByClass<absl::Duration>& durations);

}  // namespace hadal::admission
