// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "client/client.h"
#include "hadal/v1/inference.pb.h"

namespace hadal::client {

// The library's plain structs as messages of hadal.v1; results.h goes the other way.
v1::ChatRequest RequestOf(const ChatOptions& options);
v1::GenerateRequest RequestOf(const CompletionOptions& options);
v1::TokenizeRequest RequestOf(const TokenizeOptions& options);
v1::DetokenizeRequest RequestOf(const DetokenizeOptions& options);
// Whether metadata can hold it. gRPC would end the program.
bool FitsMetadata(std::string_view value);
// What goes into a call's metadata. InvalidArgument names an option that does not fit.
absl::StatusOr<std::vector<std::pair<std::string, std::string>>> MetadataOf(const GenerationOptions& options);

}  // namespace hadal::client
