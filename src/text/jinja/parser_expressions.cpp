// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "text/jinja/parser.hpp"
#include "text/jinja/parser_nesting.hpp"

namespace skvis::jinja {
namespace {

// A tree is walked and destroyed by recursion, also where it grew in a loop (a + a + a + ...).
constexpr int kMaxHeight = 200;
// One bracket costs three levels.
constexpr int kMaxParserDepth = 300;
// Filters that apply filters (map) consume one argument per level of recursion.
constexpr size_t kMaxArguments = 64;

}  // namespace

Result<void> Parser::check_depth() const {
  if (depth_ > kMaxParserDepth) return fail("line {}: nested too deeply", peek().line);
  return {};
}

Result<ExprPtr> Parser::finish(ExprPtr expr) {
  for (const ExprPtr& child : expr->children) {
    if (child != nullptr) expr->height = std::max(expr->height, child->height + 1);
  }
  if (expr->height > kMaxHeight) {
    return fail("line {}: the expression has more than {} levels", expr->line, kMaxHeight);
  }
  return expr;
}

Result<ExprPtr> Parser::node(Expr::Kind kind, int line, std::vector<ExprPtr> children,
                             std::string name) {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = line;
  expr->name = std::move(name);
  expr->children = std::move(children);
  return finish(std::move(expr));
}

namespace {

std::vector<ExprPtr> list_of(ExprPtr first) {
  std::vector<ExprPtr> list;
  list.push_back(std::move(first));
  return list;
}

std::vector<ExprPtr> list_of(ExprPtr first, ExprPtr second) {
  auto list = list_of(std::move(first));
  list.push_back(std::move(second));
  return list;
}

}  // namespace

bool Parser::at_expression_end() const {
  const auto kind = peek().kind;
  return kind == Token::Kind::kBlockEnd || kind == Token::Kind::kOutputEnd ||
         kind == Token::Kind::kEnd || at_operator(")") || at_operator("=") || at_name("in") ||
         at_name("recursive");
}

Result<ExprPtr> Parser::parse_tuple(bool with_condition) {
  const int line = peek().line;
  const auto part = [&] { return with_condition ? parse_expression() : parse_or(); };
  SKVIS_TRY(ExprPtr first, part());
  if (!at_operator(",")) return first;
  auto items = list_of(std::move(first));
  while (accept_operator(",") && !at_expression_end() && !at_name("if")) {
    SKVIS_TRY(ExprPtr item, part());
    items.push_back(std::move(item));
  }
  return node(Expr::Kind::kTuple, line, std::move(items));
}

Result<ExprPtr> Parser::parse_expression() {
  const Nesting nesting(*this);
  SKVIS_CHECK(check_depth());
  const int line = peek().line;
  SKVIS_TRY(ExprPtr value, parse_or());
  while (accept_name("if")) {
    SKVIS_TRY(ExprPtr condition, parse_or());
    auto children = list_of(std::move(value), std::move(condition));
    children.emplace_back();
    if (accept_name("else")) {
      SKVIS_TRY(children.back(), parse_expression());
    }
    SKVIS_TRY(value, node(Expr::Kind::kConditional, line, std::move(children)));
  }
  return value;
}

Result<ExprPtr> Parser::parse_or() {
  const int line = peek().line;
  SKVIS_TRY(ExprPtr left, parse_and());
  while (accept_name("or")) {
    SKVIS_TRY(ExprPtr right, parse_and());
    SKVIS_TRY(left, node(Expr::Kind::kOr, line, list_of(std::move(left), std::move(right))));
  }
  return left;
}

Result<ExprPtr> Parser::parse_and() {
  const int line = peek().line;
  SKVIS_TRY(ExprPtr left, parse_not());
  while (accept_name("and")) {
    SKVIS_TRY(ExprPtr right, parse_not());
    SKVIS_TRY(left, node(Expr::Kind::kAnd, line, list_of(std::move(left), std::move(right))));
  }
  return left;
}

Result<ExprPtr> Parser::parse_not() {
  const int line = peek().line;
  if (!accept_name("not")) return parse_compare();
  const Nesting nesting(*this);
  SKVIS_CHECK(check_depth());
  SKVIS_TRY(ExprPtr inner, parse_not());
  return node(Expr::Kind::kNot, line, list_of(std::move(inner)));
}

Result<ExprPtr> Parser::parse_compare() {
  static constexpr std::string_view kOperators[] = {"==", "!=", "<", "<=", ">", ">="};
  const int line = peek().line;
  SKVIS_TRY(ExprPtr first, parse_sum());
  auto compare = std::make_unique<Expr>();
  compare->kind = Expr::Kind::kCompare;
  compare->line = line;
  compare->children.push_back(std::move(first));
  while (true) {
    const auto* known = std::find_if(std::begin(kOperators), std::end(kOperators),
                                     [&](std::string_view text) { return at_operator(text); });
    if (known != std::end(kOperators)) {
      compare->labels.emplace_back(*known);
      next();
    } else if (accept_name("in")) {
      compare->labels.emplace_back("in");
    } else if (at_name("not") && at_name("in", 1)) {
      compare->labels.emplace_back("not in");
      position_ += 2;
    } else {
      break;
    }
    SKVIS_TRY(ExprPtr operand, parse_sum());
    compare->children.push_back(std::move(operand));
  }
  if (compare->labels.empty()) return std::move(compare->children.front());
  return finish(std::move(compare));
}

Result<ExprPtr> Parser::parse_left_to_right(Rule operand,
                                            std::initializer_list<std::string_view> operators) {
  const int line = peek().line;
  SKVIS_TRY(ExprPtr left, (this->*operand)());
  while (true) {
    const auto* known = std::find_if(operators.begin(), operators.end(),
                                     [&](std::string_view text) { return at_operator(text); });
    if (known == operators.end()) return left;
    next();
    SKVIS_TRY(ExprPtr right, (this->*operand)());
    SKVIS_TRY(left, node(Expr::Kind::kArithmetic, line, list_of(std::move(left), std::move(right)),
                         std::string(*known)));
  }
}

Result<ExprPtr> Parser::parse_sum() {
  return parse_left_to_right(&Parser::parse_concat, {"+", "-"});
}

Result<ExprPtr> Parser::parse_concat() {
  const int line = peek().line;
  SKVIS_TRY(ExprPtr first, parse_product());
  if (!at_operator("~")) return first;
  auto parts = list_of(std::move(first));
  while (accept_operator("~")) {
    SKVIS_TRY(ExprPtr part, parse_product());
    parts.push_back(std::move(part));
  }
  return node(Expr::Kind::kConcat, line, std::move(parts));
}

Result<ExprPtr> Parser::parse_product() {
  return parse_left_to_right(&Parser::parse_power, {"*", "/", "//", "%"});
}

Result<ExprPtr> Parser::parse_power() {
  const int line = peek().line;
  SKVIS_TRY(ExprPtr left, parse_unary(true));
  while (accept_operator("**")) {
    SKVIS_TRY(ExprPtr right, parse_unary(true));
    auto both = list_of(std::move(left), std::move(right));
    SKVIS_TRY(left, node(Expr::Kind::kArithmetic, line, std::move(both), "**"));
  }
  return left;
}

// Filters bind looser than the sign: -1|abs is (-1)|abs.
Result<ExprPtr> Parser::parse_unary(bool with_filters) {
  const Nesting nesting(*this);
  SKVIS_CHECK(check_depth());
  const int line = peek().line;
  ExprPtr expr;
  if (at_operator("-") || at_operator("+")) {
    const auto kind = next().text == "-" ? Expr::Kind::kNegate : Expr::Kind::kPlus;
    SKVIS_TRY(ExprPtr inner, parse_unary(false));
    SKVIS_TRY(expr, node(kind, line, list_of(std::move(inner))));
  } else {
    SKVIS_TRY(expr, parse_primary());
  }
  SKVIS_TRY(expr, parse_postfix(std::move(expr)));
  if (with_filters) return parse_filters(std::move(expr));
  return expr;
}

Result<ExprPtr> Parser::parse_postfix(ExprPtr expr) {
  while (true) {
    if (at_operator(".") || at_operator("[")) {
      SKVIS_TRY(expr, parse_subscript(std::move(expr)));
    } else if (at_operator("(")) {
      SKVIS_TRY(expr, parse_call(std::move(expr)));
    } else {
      return expr;
    }
  }
}

Result<ExprPtr> Parser::parse_filters(ExprPtr expr) {
  while (true) {
    if (accept_operator("|")) {
      SKVIS_TRY(expr, parse_one_filter(std::move(expr)));
    } else if (accept_name("is")) {
      SKVIS_TRY(expr, parse_test(std::move(expr)));
    } else if (at_operator("(")) {
      SKVIS_TRY(expr, parse_call(std::move(expr)));
    } else {
      return expr;
    }
  }
}

Result<ExprPtr> Parser::parse_one_filter(ExprPtr input) {
  const int line = peek().line;
  SKVIS_TRY(std::string name, expect_name("the name of a filter"));
  Arguments arguments;
  if (at_operator("(")) {
    SKVIS_TRY(arguments, parse_arguments());
  }
  auto children = list_of(std::move(input));
  for (ExprPtr& value : arguments.values) children.push_back(std::move(value));
  SKVIS_TRY(ExprPtr filter, node(Expr::Kind::kFilter, line, std::move(children), std::move(name)));
  filter->labels = std::move(arguments.labels);
  return filter;
}

Result<ExprPtr> Parser::parse_test(ExprPtr input) {
  const int line = peek().line;
  const bool negated = accept_name("not");
  SKVIS_TRY(std::string name, expect_name("the name of a test"));
  Arguments arguments;
  const auto kind = peek().kind;
  const bool takes_operand = kind == Token::Kind::kString || kind == Token::Kind::kInteger ||
                             kind == Token::Kind::kFloat || at_operator("[") || at_operator("{") ||
                             (kind == Token::Kind::kName && !at_name("else") && !at_name("or") &&
                              !at_name("and") && !at_name("if") && !at_name("is") &&
                              !at_name("in") && !at_name("not") && !at_name("recursive"));
  if (at_operator("(")) {
    SKVIS_TRY(arguments, parse_arguments());
  } else if (takes_operand) {
    SKVIS_TRY(ExprPtr operand, parse_primary());
    SKVIS_TRY(operand, parse_postfix(std::move(operand)));
    arguments.values.push_back(std::move(operand));
  }
  auto children = list_of(std::move(input));
  for (ExprPtr& value : arguments.values) children.push_back(std::move(value));
  SKVIS_TRY(ExprPtr test, node(Expr::Kind::kTest, line, std::move(children), std::move(name)));
  test->labels = std::move(arguments.labels);
  if (!negated) return test;
  return node(Expr::Kind::kNot, line, list_of(std::move(test)));
}

Result<ExprPtr> Parser::parse_primary() {
  const Token& token = peek();
  auto literal = std::make_unique<Expr>();
  literal->line = token.line;
  switch (token.kind) {
    case Token::Kind::kName:
      next();
      if (token.text == "true" || token.text == "True") {
        literal->value = Value(true);
      } else if (token.text == "false" || token.text == "False") {
        literal->value = Value(false);
      } else if (token.text == "none" || token.text == "None") {
        literal->value = Value(None{});
      } else {
        return node(Expr::Kind::kName, token.line, {}, token.text);
      }
      return literal;
    case Token::Kind::kString: {
      std::string text;
      while (peek().kind == Token::Kind::kString) text += next().text;
      literal->value = Value(std::move(text));
      return literal;
    }
    case Token::Kind::kInteger:
      literal->value = Value(next().number);
      return literal;
    case Token::Kind::kFloat:
      literal->value = Value(next().real);
      return literal;
    default:
      break;
  }
  if (at_operator("(")) return parse_parenthesis();
  if (at_operator("[")) return parse_list();
  if (at_operator("{")) return parse_dict();
  return unexpected("an expression");
}

Result<ExprPtr> Parser::parse_parenthesis() {
  const int line = next().line;
  if (accept_operator(")")) return node(Expr::Kind::kTuple, line, {});
  SKVIS_TRY(ExprPtr inner, parse_tuple(true));
  SKVIS_CHECK(expect_operator(")"));
  return inner;
}

Result<ExprPtr> Parser::parse_list() {
  const int line = next().line;
  std::vector<ExprPtr> items;
  while (!accept_operator("]")) {
    SKVIS_TRY(ExprPtr item, parse_expression());
    items.push_back(std::move(item));
    if (!at_operator("]") && !accept_operator(",")) return unexpected("',' or ']'");
  }
  return node(Expr::Kind::kList, line, std::move(items));
}

Result<ExprPtr> Parser::parse_dict() {
  const int line = next().line;
  std::vector<ExprPtr> items;
  while (!accept_operator("}")) {
    SKVIS_TRY(ExprPtr key, parse_expression());
    SKVIS_CHECK(expect_operator(":"));
    SKVIS_TRY(ExprPtr value, parse_expression());
    items.push_back(std::move(key));
    items.push_back(std::move(value));
    if (!at_operator("}") && !accept_operator(",")) return unexpected("',' or '}'");
  }
  return node(Expr::Kind::kDict, line, std::move(items));
}

Result<ExprPtr> Parser::parse_subscript(ExprPtr expr) {
  const int line = peek().line;
  auto children = list_of(std::move(expr));
  if (accept_operator(".")) {
    if (peek().kind == Token::Kind::kInteger) {
      SKVIS_TRY(ExprPtr index, parse_primary());
      children.push_back(std::move(index));
      return node(Expr::Kind::kItem, line, std::move(children));
    }
    SKVIS_TRY(std::string name, expect_name("the name of an attribute"));
    return node(Expr::Kind::kAttribute, line, std::move(children), std::move(name));
  }
  next();  // [
  bool slice = false;
  while (true) {
    children.emplace_back();
    if (!at_operator(":") && !at_operator("]")) {
      SKVIS_TRY(children.back(), parse_expression());
    }
    if (children.size() == 4 || !accept_operator(":")) break;
    slice = true;
  }
  if (!slice && children.back() == nullptr) return unexpected("an index");
  SKVIS_CHECK(expect_operator("]"));
  if (slice) children.resize(4);
  return node(slice ? Expr::Kind::kSlice : Expr::Kind::kItem, line, std::move(children));
}

Result<ExprPtr> Parser::parse_call(ExprPtr callee) {
  const int line = peek().line;
  SKVIS_TRY(Arguments arguments, parse_arguments());
  auto children = list_of(std::move(callee));
  for (ExprPtr& value : arguments.values) children.push_back(std::move(value));
  SKVIS_TRY(ExprPtr call, node(Expr::Kind::kCall, line, std::move(children)));
  call->labels = std::move(arguments.labels);
  return call;
}

Result<Parser::Arguments> Parser::parse_arguments() {
  SKVIS_CHECK(expect_operator("("));
  Arguments arguments;
  while (!accept_operator(")")) {
    if (at_operator("*") || at_operator("**")) {
      return fail("line {}: '*' and '**' arguments are not supported; write them out", peek().line);
    }
    if (peek().kind == Token::Kind::kName && at_operator("=", 1)) {
      arguments.labels.push_back(next().text);
      next();
    } else if (!arguments.labels.empty()) {
      return unexpected("an argument with a name, as the one before it has");
    }
    SKVIS_TRY(ExprPtr value, parse_expression());
    arguments.values.push_back(std::move(value));
    if (arguments.values.size() > kMaxArguments) {
      return fail("line {}: a call has more than {} arguments", peek().line, kMaxArguments);
    }
    if (!at_operator(")") && !accept_operator(",")) return unexpected("',' or ')'");
  }
  return arguments;
}

}  // namespace skvis::jinja
