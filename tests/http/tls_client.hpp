// SPDX-License-Identifier: Apache-2.0
// A client that speaks TLS, and certificates that are made when a test runs.
#pragma once

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <cstdio>
#include <string>

#include "http/http_client.hpp"

namespace skvis::testing {

class TlsClient : public HttpClient {
 public:
  // `newest`: the newest version this client speaks.
  explicit TlsClient(uint16_t port, int newest = TLS1_3_VERSION) : HttpClient(port) {
    context_ = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_security_level(context_, 0);  // old versions too, if the server would take them
    SSL_CTX_set_min_proto_version(context_, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(context_, newest);
    tls_ = SSL_new(context_);
    SSL_set_fd(tls_, socket());
    ready_ = SSL_connect(tls_) == 1;
  }
  ~TlsClient() override {
    SSL_free(tls_);
    SSL_CTX_free(context_);
  }

  bool ready() const { return ready_; }  // the handshake succeeded
  int version() const { return SSL_version(tls_); }
  bool said_goodbye() const { return (SSL_get_shutdown(tls_) & SSL_RECEIVED_SHUTDOWN) != 0; }

 protected:
  ssize_t send_some(const char* bytes, size_t count) override {
    return ready_ ? SSL_write(tls_, bytes, static_cast<int>(count)) : -1;
  }
  ssize_t receive_some(char* bytes, size_t count) override {
    return ready_ ? SSL_read(tls_, bytes, static_cast<int>(count)) : -1;
  }

 private:
  SSL_CTX* context_;
  SSL* tls_;
  bool ready_ = false;
};

// Writes a certificate for "localhost", signed by itself, and its key.
inline bool write_certificate(const std::string& certificate_path, const std::string& key_path) {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = X509_new();
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
  X509_set_pubkey(certificate, key);
  X509_NAME* name = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("localhost"), -1, -1, 0);
  X509_set_issuer_name(certificate, name);
  bool written = X509_sign(certificate, key, EVP_sha256()) > 0;
  if (FILE* file = std::fopen(certificate_path.c_str(), "w")) {
    written = PEM_write_X509(file, certificate) == 1 && written;
    std::fclose(file);
  }
  if (FILE* file = std::fopen(key_path.c_str(), "w")) {
    written =
        PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr) == 1 && written;
    std::fclose(file);
  }
  X509_free(certificate);
  EVP_PKEY_free(key);
  return written;
}

}  // namespace skvis::testing
