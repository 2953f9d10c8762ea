// SPDX-License-Identifier: Apache-2.0
#include "server/http/sender.h"

#include <algorithm>

namespace hadal::http {

std::string NetworkOf(const boost::asio::ip::address& address) {
  if (!address.is_v6()) return address.to_string();
  const boost::asio::ip::address_v6 v6 = address.to_v6();
  if (v6.is_v4_mapped()) {
    return boost::asio::ip::make_address_v4(boost::asio::ip::v4_mapped, v6).to_string();
  }
  boost::asio::ip::address_v6::bytes_type bytes = v6.to_bytes();
  std::fill(bytes.begin() + 8, bytes.end(), 0);
  return boost::asio::ip::address_v6(bytes).to_string() + "/64";
}

std::string NetworkOf(const boost::asio::ip::tcp::socket& socket) {
  boost::system::error_code error;
  const boost::asio::ip::tcp::endpoint peer = socket.remote_endpoint(error);
  return error ? "unknown" : NetworkOf(peer.address());
}

std::string SenderName(std::string_view tenant, std::string_view network) {
  std::string name = tenant.empty() ? "network " : "tenant ";
  return name.append(tenant.empty() ? network : tenant);
}

}  // namespace hadal::http
