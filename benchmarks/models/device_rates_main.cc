// SPDX-License-Identifier: Apache-2.0
//
// Decode, prefill and start of configurations with random weights, as shares of what the device reaches in a copy and a
// product in the same run: one JSON object a line, each as soon as it is measured. scripts/gpu-check runs it on a GPU.
//
//   device_rates [--device=cuda] [--sequences=1,128,256] [--context=1024] [--steps=128] [--single-steps=512]
//                [--prompts=128,256,...,8192] [--first-token=1024] [--runs=5] [--copy-mb=1024] [--product=8192] DIR...
//   device_rates --checkpoint=FOLDER [--checkpoint-mb=16384] [--cold] [--device=cuda] DIR
//
// The second form measures a start from weight files, which it writes into FOLDER first (start_rate.h).

#include <cstdint>
#include <cstdio>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "benchmarks/models/device_rates.h"
#include "benchmarks/models/start_rate.h"
#include "models/status_macros.h"

namespace hadal::models {
namespace {

constexpr int32_t kLargest = 1 << 20;

absl::Status ReadNumber(const std::string& name, const std::string& text, int32_t* value) {
  if (absl::SimpleAtoi(text, value) && *value >= 1 && *value <= kLargest) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, " is ", text, ": expected 1 to ", kLargest));
}

absl::Status ReadNumbers(const std::string& name, const std::string& text, std::vector<int32_t>* values) {
  values->clear();
  for (const std::string& each : std::vector<std::string>(absl::StrSplit(text, ','))) {
    HADAL_RETURN_IF_ERROR(ReadNumber(name, each, &values->emplace_back()));
  }
  return absl::OkStatus();
}

absl::Status ReadOption(const std::string& argument, RateOptions& options, StartOptions& start) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(argument, absl::MaxSplits('=', 1));
  const auto& [name, text] = parts;
  if (name == "--device") {
    options.device = text;
    return absl::OkStatus();
  }
  if (name == "--checkpoint") {
    start.folder = text;
    return text.empty() ? absl::InvalidArgumentError("--checkpoint: expected a folder") : absl::OkStatus();
  }
  if (name == "--cold" && text.empty()) {
    start.cold = true;
    return absl::OkStatus();
  }
  if (name == "--sequences") return ReadNumbers(name, text, &options.sequences);
  if (name == "--prompts") return ReadNumbers(name, text, &options.prompt_tokens);
  if (name == "--context") return ReadNumber(name, text, &options.context_tokens);
  if (name == "--single-steps") return ReadNumber(name, text, &options.single_steps);
  if (name == "--steps") return ReadNumber(name, text, &options.decode_steps);
  if (name == "--first-token") return ReadNumber(name, text, &options.first_token_prompt);
  if (name == "--runs") return ReadNumber(name, text, &options.runs);
  int32_t number = 0;
  if (name == "--copy-mb") {
    HADAL_RETURN_IF_ERROR(ReadNumber(name, text, &number));
    options.copy_bytes = int64_t{number} << 20;
    return absl::OkStatus();
  }
  if (name == "--checkpoint-mb") {
    HADAL_RETURN_IF_ERROR(ReadNumber(name, text, &number));
    start.most_bytes = int64_t{number} << 20;
    return absl::OkStatus();
  }
  if (name == "--product") {
    HADAL_RETURN_IF_ERROR(ReadNumber(name, text, &number));
    options.product_rows = number;
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown option ", name));
}

absl::Status Main(const std::vector<std::string>& arguments) {
  RateOptions options;
  StartOptions start;
  std::vector<std::string> folders;
  for (const std::string& argument : arguments) {
    if (absl::StartsWith(argument, "--")) {
      HADAL_RETURN_IF_ERROR(ReadOption(argument, options, start));
    } else {
      folders.push_back(argument);
    }
  }
  const auto print = [](const std::string& line) { std::cout << line << std::endl; };
  if (!start.folder.empty()) {
    if (folders.size() != 1) {
      return absl::InvalidArgumentError(absl::StrCat("--checkpoint: expected one DIR, found ", folders.size()));
    }
    return MeasureStart(folders[0], options, start, print);
  }
  HADAL_ASSIGN_OR_RETURN(const DeviceLimits limits, MeasureLimits(options, print));
  for (const std::string& folder : folders) HADAL_RETURN_IF_ERROR(MeasureModel(folder, options, limits, print));
  return absl::OkStatus();
}

}  // namespace
}  // namespace hadal::models

int main(int argc, char** argv) {
  const absl::Status status = hadal::models::Main({argv + 1, argv + argc});
  if (!status.ok()) std::cerr << "device_rates: " << status << "\n";
  return status.ok() ? 0 : 1;
}
