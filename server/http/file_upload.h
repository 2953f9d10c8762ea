// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>

#include "server/http/connection.h"
#include "server/service/call_record.h"

namespace hadal::http {

// POST /v1/files: a form with `purpose` (batch), `file`, and perhaps `expires_after[seconds]`, in any order. The file
// is written to the store as it arrives; an incomplete upload leaves nothing behind.
boost::asio::awaitable<void> HandleUpload(Connection& connection, service::CallInfo info);

}  // namespace hadal::http
