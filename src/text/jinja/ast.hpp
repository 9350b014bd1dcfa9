// SPDX-License-Identifier: Apache-2.0
// The tree of a template. One node type for expressions and one for statements: each kind says what
// it keeps where.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/jinja/value.hpp"

namespace skvis::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Expr {
  enum class Kind {
    kLiteral,      // value
    kName,         // name
    kCaptured,     // the text of the surrounding filter block or block set
    kList,         // children
    kTuple,        // children
    kDict,         // children: key, value, key, value, ...
    kAttribute,    // children[0] . name
    kItem,         // children[0] [ children[1] ]
    kSlice,        // children[0] [ children[1] : children[2] : children[3] ]; each may be null
    kNegate,       // - children[0]
    kPlus,         // + children[0]
    kNot,          // not children[0]
    kAnd,          // children[0] and children[1]
    kOr,           // children[0] or children[1]
    kArithmetic,   // children[0] name children[1]; name: + - * / // % **
    kConcat,       // children joined as text (~)
    kCompare,      // children[0] labels[0] children[1] labels[1] children[2] ...
    kConditional,  // children[0] if children[1] else children[2]; the last may be null
    kFilter,       // children[0] | name(arguments)
    kTest,         // children[0] is name(arguments)
    kCall,         // children[0] (arguments)
  };
  Kind kind = Kind::kLiteral;
  int line = 1;
  int height = 1;  // of the tree below and with this node; bounded by the parser
  std::string name;
  Value value;
  std::vector<ExprPtr> children;
  // kCompare: operators. kFilter, kTest, kCall: arguments are children[1..], and these are the
  // names of the last labels.size() of them.
  std::vector<std::string> labels;
};

struct Stmt;
using Body = std::vector<Stmt>;

// What a `set` or `for` assigns to: one name, several names (unpacking), or name.attribute.
struct Target {
  std::vector<std::string> names;
  bool unpacks = false;
  std::string attribute;
};

struct MacroDefinition {
  std::string name;
  std::vector<std::string> parameters;
  std::vector<ExprPtr> defaults;  // of the last defaults.size() parameters
  Body body;
};

struct Stmt {
  enum class Kind {
    kText,      // text
    kOutput,    // exprs[0]
    kIf,        // exprs[i] guards bodies[i]; one more body is the else branch
    kFor,       // target, exprs[0] the sequence, exprs[1] the condition or null; bodies: loop, else
    kSet,       // target, exprs[0]
    kSetBlock,  // target, exprs[0] computed from the captured text; bodies[0]
    kFilterBlock,  // exprs[0] computed from the captured text; bodies[0]
    kWith,         // target.names = exprs; bodies[0]
    kScope,        // bodies[0] with names of its own
    kMacro,        // macro
    kCallBlock,    // exprs[0] is the call, macro what `caller` means inside it
    kBreak,
    kContinue,
  };
  Kind kind = Kind::kText;
  int line = 1;
  std::string text = {};
  Target target = {};
  std::vector<ExprPtr> exprs = {};
  std::vector<Body> bodies = {};
  std::unique_ptr<MacroDefinition> macro = nullptr;
};

}  // namespace skvis::jinja
