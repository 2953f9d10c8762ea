// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "client/generation_result.h"
#include "hadal/v1/inference.pb.h"

namespace hadal::client {

// What a message of a stream brings.
Piece PieceOf(const v1::GenerateResponse& response);
// Adds a piece to one of the same choice.
void Append(Piece piece, Piece* all);
// Adds a message of a stream to what came before it.
void Append(const v1::GenerateResponse& response, GenerationResult* result);
// Messages that Append makes the result of, a whole choice in each.
std::vector<v1::GenerateResponse> ResponsesOf(const GenerationResult& result);

}  // namespace hadal::client
