// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "client/batch_client.h"
#include "hadal/v1/batches.pb.h"

namespace hadal::client {

// The library's plain structs as messages of hadal.v1.Batches, and back.
v1::NewFile MessageOf(const Upload& upload);
v1::CreateBatchRequest MessageOf(const NewBatch& batch);
BatchFile FileOf(const v1::File& file);
Batch BatchOf(const v1::Batch& batch);

}  // namespace hadal::client
