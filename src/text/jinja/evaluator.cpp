// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/evaluator.hpp"

#include "text/jinja/evaluator_scopes.hpp"

namespace skvis::jinja {
namespace {

Error at_line(int line, const Error& error) {
  return fail("line {}: {}", line, error.message);
}

}  // namespace

Evaluator::Evaluator(Runtime& runtime, const Dict& variables) : runtime_(runtime) {
  for (const Builtin& function : functions()) {
    root_.names[std::string(function.name)] = Value(std::make_shared<const Callable>(
        Callable{.kind = Callable::Kind::kFunction, .name = std::string(function.name)}));
  }
  for (const auto& [name, value] : variables.entries) root_.names[to_text(name)] = value;
}

Result<std::string> Evaluator::render(const Body& body) {
  std::string text;
  output_ = &text;
  SKVIS_CHECK(execute(body));
  return text;
}

Result<void> Evaluator::check_depth() const {
  if (depth_ <= runtime_.limits().max_depth) return {};
  return fail("macros and expressions are nested deeper than {} levels",
              runtime_.limits().max_depth);
}

Result<void> Evaluator::write(std::string_view text, int line) {
  if (auto charged = runtime_.charge_text(text.size()); !charged) {
    return at_line(line, charged.error());
  }
  if (text.size() > runtime_.limits().max_output - output_->size()) {
    return fail("line {}: the text is longer than {} bytes", line, runtime_.limits().max_output);
  }
  output_->append(text);
  return {};
}

Result<Evaluator::Flow> Evaluator::execute(const Body& body) {
  for (const Stmt& stmt : body) {
    SKVIS_TRY(const Flow flow, execute(stmt));
    if (flow != Flow::kNormal) return flow;
  }
  return Flow::kNormal;
}

Result<Evaluator::Flow> Evaluator::execute(const Stmt& stmt) {
  const Deeper deeper(*this);
  if (auto checked = check_depth(); !checked) return at_line(stmt.line, checked.error());
  if (auto charged = runtime_.charge(1); !charged) return at_line(stmt.line, charged.error());
  switch (stmt.kind) {
    case Stmt::Kind::kText:
      SKVIS_CHECK(write(stmt.text, stmt.line));
      return Flow::kNormal;
    case Stmt::Kind::kOutput: {
      SKVIS_TRY(const Value value, evaluate(*stmt.exprs[0]));
      if (auto charged = runtime_.charge_value(value); !charged) {
        return at_line(stmt.line, charged.error());
      }
      SKVIS_CHECK(write(to_text(value), stmt.line));
      return Flow::kNormal;
    }
    case Stmt::Kind::kIf:
      return execute_if(stmt);
    case Stmt::Kind::kFor:
      return execute_for(stmt);
    case Stmt::Kind::kSet: {
      SKVIS_TRY(const Value value, evaluate(*stmt.exprs[0]));
      SKVIS_CHECK(assign(stmt.target, value, stmt.line));
      return Flow::kNormal;
    }
    case Stmt::Kind::kSetBlock: {
      SKVIS_TRY(const Value value, captured(stmt.bodies[0], *stmt.exprs[0]));
      SKVIS_CHECK(assign(stmt.target, value, stmt.line));
      return Flow::kNormal;
    }
    case Stmt::Kind::kFilterBlock: {
      SKVIS_TRY(const Value value, captured(stmt.bodies[0], *stmt.exprs[0]));
      SKVIS_CHECK(write(to_text(value), stmt.line));
      return Flow::kNormal;
    }
    case Stmt::Kind::kWith:
      return execute_with(stmt);
    case Stmt::Kind::kScope:
      return execute_in_scope(stmt.bodies[0]);
    case Stmt::Kind::kMacro:
      define_macro(*stmt.macro);
      return Flow::kNormal;
    case Stmt::Kind::kCallBlock:
      SKVIS_CHECK(call_block(stmt));
      return Flow::kNormal;
    case Stmt::Kind::kBreak:
      return Flow::kBreak;
    default:
      return Flow::kContinue;
  }
}

Result<Evaluator::Flow> Evaluator::execute_if(const Stmt& stmt) {
  for (size_t i = 0; i < stmt.exprs.size(); ++i) {
    SKVIS_TRY(const Value condition, evaluate(*stmt.exprs[i]));
    if (condition.truthy()) return execute(stmt.bodies[i]);
  }
  if (stmt.bodies.size() > stmt.exprs.size()) return execute(stmt.bodies.back());
  return Flow::kNormal;
}

// The items the loop runs over: those for which its condition holds.
Result<std::vector<Value>> Evaluator::loop_items(const Stmt& stmt) {
  SKVIS_TRY(const Value sequence, evaluate(*stmt.exprs[0]));
  auto list = items_of(runtime_, sequence);
  if (!list) return at_line(stmt.line, list.error());
  const auto& items = (*list)->items;
  if (stmt.exprs[1] == nullptr) return items;
  std::vector<Value> chosen;
  for (const Value& item : items) {
    const Entered entered(*this, scope_);
    SKVIS_CHECK(assign(stmt.target, item, stmt.line));
    SKVIS_TRY(const Value condition, evaluate(*stmt.exprs[1]));
    if (condition.truthy()) chosen.push_back(item);
  }
  return chosen;
}

Result<Evaluator::Flow> Evaluator::execute_for(const Stmt& stmt) {
  SKVIS_TRY(std::vector<Value> items, loop_items(stmt));
  if (items.empty()) return execute_in_scope(stmt.bodies[1]);
  auto list = make_list(std::move(items));
  if (!list) return at_line(stmt.line, list.error());
  auto loop = std::make_shared<LoopState>();
  loop->items = list->shared_list();
  Result<Flow> flow = Flow::kNormal;
  for (; loop->index < loop->items->items.size(); ++loop->index) {
    const Entered entered(*this, scope_);
    if (auto assigned = assign(stmt.target, loop->items->items[loop->index], stmt.line);
        !assigned) {
      flow = assigned.error();
      break;
    }
    scope_->names["loop"] = Value(std::shared_ptr<const LoopState>(loop));
    flow = execute(stmt.bodies[0]);
    if (!flow || *flow == Flow::kBreak) break;
  }
  if (!flow) return flow;
  return Flow::kNormal;
}

Result<Evaluator::Flow> Evaluator::execute_with(const Stmt& stmt) {
  std::vector<Value> values;  // of the scope outside
  for (const ExprPtr& expr : stmt.exprs) {
    SKVIS_TRY(Value value, evaluate(*expr));
    values.push_back(std::move(value));
  }
  const Entered entered(*this, scope_);
  for (size_t i = 0; i < values.size(); ++i) {
    scope_->names[stmt.target.names[i]] = std::move(values[i]);
  }
  return execute(stmt.bodies[0]);
}

Result<Evaluator::Flow> Evaluator::execute_in_scope(const Body& body) {
  const Entered entered(*this, scope_);
  return execute(body);
}

Result<std::string> Evaluator::captured_text(const Body& body) {
  std::string text;
  std::string* const outer = std::exchange(output_, &text);
  auto flow = execute_in_scope(body);
  output_ = outer;
  if (!flow) return flow.error();
  return text;
}

Result<Value> Evaluator::captured(const Body& body, const Expr& filters) {
  SKVIS_TRY(std::string text, captured_text(body));
  const Value outer = std::exchange(captured_, Value(std::move(text)));
  auto value = evaluate(filters);
  captured_ = outer;
  return value;
}

Value Evaluator::macro_value(const MacroDefinition& macro) const {
  return Value(std::make_shared<const Callable>(Callable{.kind = Callable::Kind::kMacro,
                                                         .name = macro.name,
                                                         .self = {},
                                                         .macro = &macro,
                                                         .scope = scope_->id}));
}

void Evaluator::define_macro(const MacroDefinition& macro) {
  scope_->names[macro.name] = macro_value(macro);
}

Result<void> Evaluator::call_block(const Stmt& stmt) {
  const Value caller = macro_value(*stmt.macro);
  SKVIS_TRY(const Value value, evaluate_call(*stmt.exprs[0], &caller));
  return write(to_text(value), stmt.line);
}

Result<void> Evaluator::assign(const Target& target, const Value& value, int line) {
  if (!target.attribute.empty()) {
    for (const Scope* scope = scope_; scope != nullptr; scope = scope->parent) {
      const auto found = scope->names.find(target.names[0]);
      if (found == scope->names.end()) continue;
      if (Namespace* space = found->second.name_space()) {
        space->members.insert_or_assign(target.attribute, value);
        return {};
      }
      break;
    }
    return fail("line {}: only a namespace has members that can be set; '{}' is none", line,
                target.names[0]);
  }
  if (!target.unpacks) {
    scope_->names.insert_or_assign(target.names[0], value);
    return {};
  }
  auto list = items_of(runtime_, value);
  if (!list) return at_line(line, list.error());
  const auto& items = (*list)->items;
  if (items.size() != target.names.size()) {
    return fail("line {}: expected {} values to unpack, found {}", line, target.names.size(),
                items.size());
  }
  for (size_t i = 0; i < items.size(); ++i) {
    scope_->names.insert_or_assign(target.names[i], items[i]);
  }
  return {};
}

}  // namespace skvis::jinja
