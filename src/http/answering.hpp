// SPDX-License-Identifier: Apache-2.0
// Runs a job on the engine and writes its answer, whole or as a stream, while watching whether the
// client is still there.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>

#include "server/answer.hpp"

namespace skvis {

class Connection;

// False: the connection cannot be used any more. A client that goes away ends its generation within
// a step.
boost::asio::awaitable<bool> answer_job(Connection& connection, AnswerJob job,
                                        std::chrono::steady_clock::time_point arrived);

}  // namespace skvis
