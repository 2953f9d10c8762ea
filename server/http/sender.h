// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/ip/address.hpp>
#include <string>
#include <string_view>

namespace hadal::http {

// The network that an address stands for: of IPv6 its /64, which a single host has to itself, else the address.
std::string NetworkOf(const boost::asio::ip::address& address);

// Who sends, where senders share something: the tenant of the key, else the network that it comes from.
std::string SenderName(std::string_view tenant, std::string_view network);

}  // namespace hadal::http
