// SPDX-License-Identifier: Apache-2.0
#include "http/tls.hpp"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/file.hpp"

namespace skvis {
namespace {

namespace ssl = boost::asio::ssl;
constexpr size_t kLargestPem = size_t{1} << 20;

}  // namespace

Result<std::unique_ptr<ssl::context>> load_tls(const std::string& certificate,
                                               const std::string& key) {
  if (certificate.empty() || key.empty()) {
    return fail("TLS needs both files: --tls-cert and --tls-key; {} is missing",
                certificate.empty() ? "--tls-cert" : "--tls-key");
  }
  SKVIS_TRY(const std::string chain, read_file(certificate, kLargestPem));
  SKVIS_TRY(const std::string secret, read_file(key, kLargestPem));
  auto context = std::make_unique<ssl::context>(ssl::context::tls_server);
  SSL_CTX* native = context->native_handle();
  // No renegotiation: it is an attacker's cheap way to costly work, and nobody needs it.
  SSL_CTX_set_options(native, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  // Clients that close without TLS's goodbye are normal.
  SSL_CTX_set_options(native, SSL_OP_IGNORE_UNEXPECTED_EOF);
  // A server under many connections keeps no buffers for those that are idle.
  SSL_CTX_set_mode(native, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
  boost::system::error_code problem;
  context->use_certificate_chain(boost::asio::buffer(chain), problem);
  if (problem) {
    return fail("--tls-cert {}: not a PEM certificate chain: {}", certificate, problem.message());
  }
  // Encrypted keys would ask on the terminal.
  context->set_password_callback([](size_t, ssl::context::password_purpose) { return ""; },
                                 problem);
  if (!problem) {
    context->use_private_key(boost::asio::buffer(secret), ssl::context::pem, problem);
  }
  if (problem) {
    return fail("--tls-key {}: not an unencrypted PEM private key of the certificate in {}: {}",
                key, certificate, problem.message());
  }
  if (SSL_CTX_check_private_key(native) != 1) {
    ERR_clear_error();
    return fail("--tls-key {}: the key does not belong to the certificate in {}", key, certificate);
  }
  return context;
}

}  // namespace skvis
