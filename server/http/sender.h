// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <string>
#include <string_view>

namespace hadal::http {

// The network that an address stands for: of IPv6 its /64, which a single host has to itself, else the address.
std::string NetworkOf(const boost::asio::ip::address& address);

// The network at the other end; "unknown" when it is gone already.
std::string NetworkOf(const boost::asio::ip::tcp::socket& socket);

// Who sends, where senders share something: the tenant of the key, else the network that it comes from.
std::string SenderName(std::string_view tenant, std::string_view network);

}  // namespace hadal::http
