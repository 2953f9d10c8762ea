// SPDX-License-Identifier: Apache-2.0
#include "server/redis/connection.h"

#include <hiredis/hiredis.h>
#include <openssl/err.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace hadal::redis {
namespace {

constexpr size_t kReadBytes = size_t{64} << 10;

struct FreeContext {
  void operator()(redisContext* context) const { redisFree(context); }
};
struct FreeReply {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};

Reply Convert(const redisReply& from) {
  Reply reply;
  switch (from.type) {
    case REDIS_REPLY_INTEGER:
      reply.kind = Reply::Kind::kInteger;
      reply.integer = from.integer;
      break;
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
      reply.kind = Reply::Kind::kText;
      reply.text.assign(from.str, from.len);
      break;
    case REDIS_REPLY_ERROR:
      reply.kind = Reply::Kind::kError;
      reply.text.assign(from.str, from.len);
      break;
    case REDIS_REPLY_ARRAY:
      reply.kind = Reply::Kind::kArray;
      reply.items.reserve(from.elements);
      for (size_t i = 0; i < from.elements; ++i) reply.items.push_back(Convert(*from.element[i]));
      break;
    default:
      break;
  }
  return reply;
}

absl::Status Silent() { return absl::DeadlineExceededError("it was silent for too long"); }

absl::Status ErrorOf(int error) {
  if (error == EAGAIN || error == EWOULDBLOCK) return Silent();
  return absl::UnavailableError(std::strerror(error));
}

// What a call of OpenSSL that gave `result` means.
absl::Status TlsError(const tls::SslPtr& ssl, int result) {
  const int saved = errno;
  switch (SSL_get_error(ssl.get(), result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
      return Silent();
    case SSL_ERROR_ZERO_RETURN:
      return absl::UnavailableError("it closed the connection");
    case SSL_ERROR_SYSCALL:
      ERR_clear_error();
      return saved == 0 ? absl::UnavailableError("it closed the connection") : ErrorOf(saved);
    default:
      return absl::UnavailableError(absl::StrCat("TLS: ", TlsReason("unknown error")));
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Connection>> Connection::Open(const std::string& host, int port, const TlsTrust* trust,
                                                             absl::Duration timeout) {
  std::unique_ptr<redisContext, FreeContext> context(
      redisConnectWithTimeout(host.c_str(), port, absl::ToTimeval(timeout)));
  if (context == nullptr) return absl::UnavailableError("no memory");
  if (context->err != 0) return absl::UnavailableError(context->errstr);
  redisSetTimeout(context.get(), absl::ToTimeval(timeout));
  redisEnableKeepAlive(context.get());
  std::unique_ptr<Connection> connection(new Connection(context.release(), timeout));
  if (trust == nullptr) return connection;
  absl::StatusOr<tls::SslPtr> ssl = trust->Connect(connection->context_->fd, host);
  if (!ssl.ok()) return ssl.status();
  connection->ssl_ = *std::move(ssl);
  return connection;
}

Connection::~Connection() {
  ssl_.reset();
  redisFree(context_);
}

absl::StatusOr<std::vector<Reply>> Connection::Run(const std::vector<Words>& commands) {
  std::string out;
  for (const Words& words : commands) {
    std::vector<const char*> texts;
    std::vector<size_t> sizes;
    for (const std::string& word : words) {
      texts.push_back(word.data());
      sizes.push_back(word.size());
    }
    char* text = nullptr;
    const int size = redisFormatCommandArgv(&text, static_cast<int>(words.size()), texts.data(), sizes.data());
    if (size < 0) return absl::UnavailableError("no memory for a command");
    out.append(text, static_cast<size_t>(size));
    redisFreeCommand(text);
  }
  const absl::Time deadline = absl::Now() + 2 * timeout_;
  if (absl::Status status = Write(out.data(), out.size()); !status.ok()) return status;
  std::vector<Reply> replies;
  replies.reserve(commands.size());
  while (replies.size() < commands.size()) {
    void* next = nullptr;
    if (redisReaderGetReply(context_->reader, &next) != REDIS_OK) {
      return absl::UnavailableError(absl::StrCat("it does not speak Redis' protocol: ", context_->reader->errstr));
    }
    if (next != nullptr) {
      const std::unique_ptr<redisReply, FreeReply> reply(static_cast<redisReply*>(next));
      replies.push_back(Convert(*reply));
      continue;
    }
    if (absl::Status status = Read(); !status.ok()) return status;
    if (absl::Now() > deadline) return absl::DeadlineExceededError("it took too long");
  }
  return replies;
}

absl::Status Connection::Write(const char* data, size_t size) {
  while (size > 0) {
    ssize_t sent = 0;
    if (ssl_ != nullptr) {
      ERR_clear_error();
      errno = 0;
      const int result = SSL_write(ssl_.get(), data, static_cast<int>(size));
      if (result <= 0) return TlsError(ssl_, result);
      sent = result;
    } else {
      sent = ::send(context_->fd, data, size, MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent < 0) return ErrorOf(errno);
    }
    data += sent;
    size -= static_cast<size_t>(sent);
  }
  return absl::OkStatus();
}

absl::Status Connection::Read() {
  char buffer[kReadBytes];
  ssize_t got = 0;
  if (ssl_ != nullptr) {
    ERR_clear_error();
    errno = 0;
    const int result = SSL_read(ssl_.get(), buffer, sizeof(buffer));
    if (result <= 0) return TlsError(ssl_, result);
    got = result;
  } else {
    do {
      got = ::recv(context_->fd, buffer, sizeof(buffer), 0);
    } while (got < 0 && errno == EINTR);
    if (got < 0) return ErrorOf(errno);
    if (got == 0) return absl::UnavailableError("it closed the connection");
  }
  if (redisReaderFeed(context_->reader, buffer, static_cast<size_t>(got)) != REDIS_OK) {
    return absl::UnavailableError("no memory for a reply");
  }
  return absl::OkStatus();
}

}  // namespace hadal::redis
