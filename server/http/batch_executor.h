// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>

#include "server/batches/line_executor.h"
#include "server/http/http_options.h"
#include "server/service/api_keys.h"
#include "server/service/generate_service.h"

namespace hadal::http {

// Answers lines of batches as the routes answer their bodies: the same decoders, pipeline and encoders, in the class
// batch, within the quota of the tenant's key. Borrows the service, which outlives it.
std::unique_ptr<batches::LineExecutor> MakeBatchExecutor(service::GenerateService* service, service::ApiKeys keys,
                                                         const HttpOptions& options);

}  // namespace hadal::http
