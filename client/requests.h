// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "client/client.h"
#include "hadal/v1/inference.pb.h"

namespace hadal::client {

// The library's plain structs as messages of hadal.v1, and back.
v1::ChatRequest RequestOf(const ChatOptions& options);
v1::GenerateRequest RequestOf(const CompletionOptions& options);
// How many requests a server has; one that is not ready, or drains, more than any other.
double RequestsOf(const v1::GetLoadResponse& load);
// A message that Append makes the result of.
v1::GenerateResponse ResponseOf(const GenerationResult& result);
// Adds a message of a stream to what came before it.
void Append(const v1::GenerateResponse& response, GenerationResult* result);

}  // namespace hadal::client
