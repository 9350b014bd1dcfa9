// SPDX-License-Identifier: Apache-2.0
// The door to the interpreter: a Jinja template as chat templates use it. Templates come with
// models from anywhere, so parsing and rendering are bounded in steps, depth and size, and never
// throw.
#pragma once

#include <ctime>
#include <memory>
#include <string>
#include <string_view>

#include "base/json.hpp"
#include "base/result.hpp"
#include "text/jinja/runtime.hpp"

namespace skvis::jinja {

class Template {
 public:
  // Errors begin with `origin` ("chat template") and the line, and say what was expected and found.
  static Result<Template> parse(std::string_view source, std::string_view origin);

  // `variables` is an object: the names the template sees. `now` is what strftime_now shows, in
  // local time. The limits grow with the variables, as every message is copied a few times. The
  // text of raise_exception is the whole message of the error. Several threads may call this at
  // once.
  Result<std::string> render(const Json& variables, const Limits& limits, std::time_t now) const;

 private:
  struct Tree;
  explicit Template(std::shared_ptr<const Tree> tree) : tree_(std::move(tree)) {}

  std::shared_ptr<const Tree> tree_;
};

}  // namespace skvis::jinja
