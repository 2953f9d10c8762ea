// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <cstdio>

#include "server/commands/commands.h"

namespace hadal::commands {

int Health(const std::vector<std::string>& args) {
  CLI::App app{"hadal health: asks a server for its health; exit code 0 is healthy"};
  std::string host = "127.0.0.1";
  std::string port = "8000";
  std::string check = "live";
  double timeout_s = 5;
  app.add_option("--host", host, "server address [127.0.0.1]");
  app.add_option("--port", port, "server port [8000]")->envname("HADAL_PORT");
  app.add_option("--check", check, "live, ready or startup [live]")->check(CLI::IsMember({"live", "ready", "startup"}));
  app.add_option("--timeout", timeout_s, "seconds [5]");
  try {
    app.parse(std::vector<std::string>(args.rbegin(), args.rend()));
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }

  namespace asio = boost::asio;
  namespace beast = boost::beast;
  namespace http = beast::http;
  asio::io_context io;
  beast::tcp_stream stream(io);
  beast::flat_buffer buffer;
  http::response<http::string_body> response;
  boost::system::error_code failure = asio::error::timed_out;
  http::request<http::empty_body> request{http::verb::get, "/health/" + check, 11};
  request.set(http::field::host, host);

  stream.expires_after(std::chrono::milliseconds(static_cast<int64_t>(timeout_s * 1000)));
  asio::ip::tcp::resolver resolver(io);
  const auto addresses = resolver.resolve(host, port, failure);
  if (!failure) {
    failure = asio::error::timed_out;
    stream.async_connect(addresses, [&](boost::system::error_code connect_error, const auto&) {
      failure = connect_error;
      if (failure) return;
      http::async_write(stream, request, [&](boost::system::error_code write_error, size_t) {
        failure = write_error;
        if (failure) return;
        http::async_read(stream, buffer, response,
                         [&](boost::system::error_code read_error, size_t) { failure = read_error; });
      });
    });
    io.run();
  }
  if (failure) {
    std::fprintf(stderr, "hadal health: %s:%s does not answer: %s\n", host.c_str(), port.c_str(),
                 failure.message().c_str());
    return 1;
  }
  std::printf("%s\n", response.body().c_str());
  return response.result() == http::status::ok ? 0 : 1;
}

}  // namespace hadal::commands
