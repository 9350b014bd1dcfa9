// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "text/jinja/evaluator.hpp"

namespace skvis::jinja {

class Evaluator::Deeper {
 public:
  explicit Deeper(Evaluator& evaluator) : evaluator_(evaluator) { ++evaluator_.depth_; }
  ~Deeper() { --evaluator_.depth_; }
  Deeper(const Deeper&) = delete;
  Deeper& operator=(const Deeper&) = delete;

 private:
  Evaluator& evaluator_;
};

class Evaluator::Entered {
 public:
  Entered(Evaluator& evaluator, const Scope* parent)
      : evaluator_(evaluator), deeper_(evaluator), outer_(evaluator.scope_) {
    scope_.parent = parent;
    scope_.id = ++evaluator.last_scope_id_;
    evaluator.open_scopes_.push_back(&scope_);
    evaluator.scope_ = &scope_;
  }
  ~Entered() {
    evaluator_.scope_ = outer_;
    evaluator_.open_scopes_.pop_back();
  }
  Entered(const Entered&) = delete;
  Entered& operator=(const Entered&) = delete;

 private:
  Evaluator& evaluator_;
  Deeper deeper_;
  Scope* outer_;
  Scope scope_;
};

}  // namespace skvis::jinja
