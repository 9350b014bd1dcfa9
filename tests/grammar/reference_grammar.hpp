// SPDX-License-Identifier: Apache-2.0
// An independent, slow reading of grammars: expressions as trees, random ones, their GBNF text, and
// a recogniser by memoised descent that shares nothing with the room but the notation.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace skvis {

struct Tree {
  enum Kind { kLiteral, kClass, kSequence, kChoice, kRepeat, kRule } kind = kLiteral;
  std::string text;                  // literal
  std::vector<std::string> members;  // class: characters, as UTF-8
  std::vector<Tree> parts;
  int min = 0, max = 0;  // repeat; max -1: no bound
  int rule = 0;
};

struct TreeGrammar {
  std::vector<Tree> rules;  // rule 0 is root
};

inline std::string rule_name(int rule) {
  return rule == 0 ? "root" : "r" + std::to_string(rule);
}

inline std::string gbnf_text(const Tree& tree) {
  std::string text;
  switch (tree.kind) {
    case Tree::kLiteral:
      return "\"" + tree.text + "\"";
    case Tree::kClass:
      for (const std::string& member : tree.members) text += member;
      return "[" + text + "]";
    case Tree::kSequence:
      for (const Tree& part : tree.parts) text += gbnf_text(part) + " ";
      return "(" + text + ")";
    case Tree::kChoice:
      for (const Tree& part : tree.parts) text += (text.empty() ? "" : " | ") + gbnf_text(part);
      return "(" + text + ")";
    case Tree::kRepeat: {
      const std::string max = tree.max < 0 ? "" : std::to_string(tree.max);
      return gbnf_text(tree.parts[0]) + "{" + std::to_string(tree.min) + "," + max + "}";
    }
    case Tree::kRule:
      return rule_name(tree.rule);
  }
  return text;
}

inline std::string gbnf_text(const TreeGrammar& grammar) {
  std::string text;
  for (size_t i = 0; i < grammar.rules.size(); ++i) {
    text += rule_name(static_cast<int>(i)) + " ::= " + gbnf_text(grammar.rules[i]) + "\n";
  }
  return text;
}

class RandomGrammar {
 public:
  explicit RandomGrammar(uint64_t seed) : random_(seed) {}

  TreeGrammar draw() {
    TreeGrammar grammar;
    rules_ = 1 + pick(4);
    for (int i = 0; i < rules_; ++i) grammar.rules.push_back(tree(3));
    return grammar;
  }
  int pick(int count) { return static_cast<int>(random_() % static_cast<uint64_t>(count)); }
  // Some bytes that grammars use, and some that they do not.
  std::string token() {
    static const std::vector<std::string> kPieces = {"a",    "b",    "c", "\xc3\xa9",
                                                     "\xc3", "\xa9", "d"};
    std::string text;
    for (int i = 1 + pick(4); i > 0; --i) text += kPieces[static_cast<size_t>(pick(7))];
    return text;
  }

 private:
  Tree tree(int depth) {
    const int kind = depth == 0 ? pick(3) : pick(8);
    Tree made;
    if (kind == 0) {
      made.kind = Tree::kLiteral;
      for (int i = pick(4); i > 0; --i) made.text += letter();
    } else if (kind == 1) {
      made.kind = Tree::kClass;
      for (int i = 1 + pick(3); i > 0; --i) made.members.push_back(letter());
    } else if (kind == 2) {
      made.kind = Tree::kRule;
      made.rule = pick(rules_);
    } else if (kind <= 4) {
      made.kind = Tree::kSequence;
      for (int i = 1 + pick(3); i > 0; --i) made.parts.push_back(tree(depth - 1));
    } else if (kind <= 6) {
      made.kind = Tree::kChoice;
      for (int i = 1 + pick(3); i > 0; --i) made.parts.push_back(tree(depth - 1));
    } else {
      made.kind = Tree::kRepeat;
      made.min = pick(3);
      made.max = pick(3) == 0 ? -1 : made.min + pick(4);
      made.parts.push_back(tree(depth - 1));
    }
    return made;
  }
  std::string letter() {
    static const std::vector<std::string> kLetters = {"a", "b", "c", "\xc3\xa9"};
    return kLetters[static_cast<size_t>(pick(4))];
  }

  std::mt19937_64 random_;
  int rules_ = 1;
};

class ReferenceRecogniser {
 public:
  explicit ReferenceRecogniser(const TreeGrammar& grammar)
      : grammar_(grammar), productive_(grammar.rules.size()) {
    for (bool changed = true; changed;) {
      changed = false;
      for (size_t i = 0; i < productive_.size(); ++i) {
        if (productive_[i] || !productive(grammar.rules[i])) continue;
        productive_[i] = changed = true;
      }
    }
  }

  struct Answer {
    bool begins = false;   // the text is a beginning of one of the language
    bool matches = false;  // it is one
  };
  Answer read(const std::string& text) {
    text_ = &text;
    memo_.clear();
    reached_end_ = false;
    if (!productive_[0]) return {};
    const bool whole = rule(0, 0).count(text.size()) > 0;
    return {whole || reached_end_, whole};
  }
  bool any() const { return productive_[0]; }

 private:
  using Ends = std::set<size_t>;

  bool productive(const Tree& tree) const {
    const auto each = [&](const Tree& part) { return productive(part); };
    switch (tree.kind) {
      case Tree::kSequence:
        return std::all_of(tree.parts.begin(), tree.parts.end(), each);
      case Tree::kChoice:
        return std::any_of(tree.parts.begin(), tree.parts.end(), each);
      case Tree::kRepeat:
        return tree.min == 0 || each(tree.parts[0]);
      case Tree::kRule:
        return productive_[static_cast<size_t>(tree.rule)];
      default:
        return true;
    }
  }

  const Ends& rule(int index, size_t at) {
    const auto known = memo_.find({index, at});
    if (known != memo_.end()) return known->second;
    Ends ends = read_tree(grammar_.rules[static_cast<size_t>(index)], at);
    return memo_[{index, at}] = std::move(ends);
  }

  void read_bytes(const std::string& bytes, size_t at, Ends& ends) {
    for (const char byte : bytes) {
      if (at == text_->size()) {
        reached_end_ = true;
        return;
      }
      if ((*text_)[at++] != byte) return;
    }
    ends.insert(at);
  }

  Ends read_tree(const Tree& tree, size_t at) {
    Ends ends;
    if (!productive(tree)) return ends;
    switch (tree.kind) {
      case Tree::kLiteral:
        read_bytes(tree.text, at, ends);
        break;
      case Tree::kClass:
        for (const std::string& member : tree.members) read_bytes(member, at, ends);
        break;
      case Tree::kRule:
        return rule(tree.rule, at);
      case Tree::kSequence:
        ends = {at};
        for (const Tree& part : tree.parts) ends = read_all(part, ends);
        break;
      case Tree::kChoice:
        for (const Tree& part : tree.parts) ends.merge(read_tree(part, at));
        break;
      case Tree::kRepeat: {
        if (!productive(tree.parts[0])) return {at};  // min is 0
        Ends here = {at};
        const int bound = tree.max < 0 ? tree.min + static_cast<int>(text_->size()) + 1 : tree.max;
        for (int count = 0; count <= bound && !here.empty(); ++count) {
          if (count >= tree.min) ends.insert(here.begin(), here.end());
          if (count < bound) here = read_all(tree.parts[0], here);
        }
        break;
      }
    }
    return ends;
  }

  Ends read_all(const Tree& tree, const Ends& starts) {
    Ends ends;
    for (const size_t start : starts) ends.merge(read_tree(tree, start));
    return ends;
  }

  const TreeGrammar& grammar_;
  std::vector<bool> productive_;
  const std::string* text_ = nullptr;
  std::map<std::pair<int, size_t>, Ends> memo_;
  bool reached_end_ = false;
};

}  // namespace skvis
