// SPDX-License-Identifier: Apache-2.0
// What TLS needs of the server's owner: a certificate and its key, as PEM files.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <memory>
#include <string>

#include "base/result.hpp"

namespace skvis {

// TLS 1.2 and newer. `certificate`: a chain, the server's own certificate first; `key`: its private
// key, not encrypted. The error names the file that is wrong and what is wrong with it.
Result<std::unique_ptr<boost::asio::ssl::context>> load_tls(const std::string& certificate,
                                                            const std::string& key);

}  // namespace skvis
