// SPDX-License-Identifier: Apache-2.0
#include "formats/tokenizer_json_reader.hpp"

#include "formats/tokenizer_spec.hpp"

namespace skvis {
namespace {

constexpr size_t kMaxDepth = 32;
constexpr size_t kMaxValues = 500'000;  // of the rest; 4,096 added tokens are 33,000
constexpr size_t kMaxMembers = 4096;    // per object: a Json object finds its keys one by one
constexpr std::string_view kVocabularyPath = "/model/vocab";
constexpr std::string_view kMergesPath = "/model/merges";

// nlohmann's event interface; every handler answers whether to go on, problem_ says why not.
class Handler : public nlohmann::json_sax<Json> {
 public:
  explicit Handler(RawTokenizer& raw) : raw_(raw) {}

  const std::string& problem() const { return problem_; }

  bool null() override { return scalar(nullptr); }
  bool boolean(bool value) override { return scalar(value); }
  bool number_integer(number_integer_t value) override { return scalar(value); }
  bool number_float(number_float_t value, const string_t&) override { return scalar(value); }
  bool binary(binary_t&) override { return stop("holds binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ != Place::kVocabulary) return scalar(value);
    if (value >= kMaxVocabulary) {
      return stop(fmt::format("model.vocab: '{}' has id {}, expected less than {}", entry_, value,
                              kMaxVocabulary));
    }
    if (raw_.vocabulary.size() >= kMaxVocabulary) {
      return stop(fmt::format("model.vocab has more than {} tokens", kMaxVocabulary));
    }
    raw_.vocabulary.emplace_back(std::move(entry_), static_cast<uint32_t>(value));
    return true;
  }

  bool string(string_t& value) override {
    if (place_ == Place::kMerges) return whole_merge(value);
    if (place_ != Place::kPair) return scalar(std::move(value));
    if (pair_.size() == 2) return bad_merge("an array of more than two");
    pair_.push_back(std::move(value));
    return true;
  }

  bool key(string_t& value) override {
    if (place_ == Place::kVocabulary) {
      entry_ = std::move(value);
      return true;
    }
    if (stack_.back()->size() >= kMaxMembers) {
      return stop(fmt::format("an object has more than {} members", kMaxMembers));
    }
    key_ = std::move(value);
    return true;
  }

  bool start_object(size_t) override {
    if (place_ != Place::kRest) return misplaced("an object");
    if (stack_.size() == 2 && path() == kVocabularyPath) {
      if (raw_.has_vocabulary) return stop("model.vocab stands twice");
      raw_.has_vocabulary = true;
      place_ = Place::kVocabulary;
      return true;
    }
    return open(Json::object());
  }

  bool end_object() override {
    if (place_ == Place::kVocabulary) {
      place_ = Place::kRest;
      return true;
    }
    return close();
  }

  bool start_array(size_t) override {
    if (place_ == Place::kMerges) {
      place_ = Place::kPair;
      pair_.clear();
      return true;
    }
    if (place_ != Place::kRest) return misplaced("an array");
    if (stack_.size() == 2 && path() == kMergesPath) {
      if (raw_.has_merges) return stop("model.merges stands twice");
      raw_.has_merges = true;
      place_ = Place::kMerges;
      return true;
    }
    if (stack_.size() == 2 && path() == kVocabularyPath) {
      return stop("model.vocab is an array, as Unigram models have; expected a BPE model's object");
    }
    return open(Json::array());
  }

  bool end_array() override {
    if (place_ == Place::kMerges) {
      place_ = Place::kRest;
      return true;
    }
    if (place_ != Place::kPair) return close();
    place_ = Place::kMerges;
    if (pair_.size() != 2) return bad_merge(fmt::format("an array of {}", pair_.size()));
    return add_merge(std::move(pair_[0]), std::move(pair_[1]));
  }

  bool parse_error(size_t, const std::string&, const Json::exception& problem) override {
    std::string_view what = problem.what();
    if (const auto end = what.find("] "); end != what.npos) what.remove_prefix(end + 2);
    return stop(fmt::format("not valid JSON: {}", what));
  }

 private:
  enum class Place { kRest, kVocabulary, kMerges, kPair };

  bool stop(std::string problem) {
    if (problem_.empty()) problem_ = std::move(problem);
    return false;
  }

  bool misplaced(std::string_view found) {
    if (place_ == Place::kVocabulary) {
      return stop(fmt::format("model.vocab: '{}' has {}, expected an id", entry_, found));
    }
    return bad_merge(found);
  }

  bool bad_merge(std::string_view found) {
    return stop(
        fmt::format("model.merges[{}] is {}, expected two tokens (\"a b\" or [\"a\", \"b\"])",
                    raw_.merges.size(), found));
  }

  bool whole_merge(std::string_view text) {
    const size_t space = text.find(' ');
    if (space == text.npos || text.find(' ', space + 1) != text.npos) {
      return bad_merge(fmt::format("'{}'", text));
    }
    return add_merge(std::string(text.substr(0, space)), std::string(text.substr(space + 1)));
  }

  bool add_merge(std::string left, std::string right) {
    if (raw_.merges.size() >= kMaxMerges) {
      return stop(fmt::format("model.merges has more than {} entries", kMaxMerges));
    }
    raw_.merges.emplace_back(std::move(left), std::move(right));
    return true;
  }

  // The place of the value that comes next, two levels down: enough to know vocab and merges.
  std::string path() const { return stack_[0]->is_object() ? "/" + outer_ + "/" + key_ : ""; }

  Json* put(Json value) {
    if (stack_.empty()) {
      raw_.document = std::move(value);
      return &raw_.document;
    }
    Json& parent = *stack_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    Json& member = parent[key_];
    member = std::move(value);
    return &member;
  }

  bool scalar(Json value) {
    if (place_ != Place::kRest) return misplaced(json_type(value));
    if (++values_ > kMaxValues) return too_many();
    put(std::move(value));
    return true;
  }

  bool open(Json value) {
    if (++values_ > kMaxValues) return too_many();
    if (stack_.size() >= kMaxDepth) {
      return stop(fmt::format("JSON is nested deeper than {} levels", kMaxDepth));
    }
    if (stack_.size() == 1) outer_ = key_;
    stack_.push_back(put(std::move(value)));
    return true;
  }

  bool close() {
    stack_.pop_back();
    return true;
  }

  bool too_many() {
    return stop(fmt::format("more than {} values beside vocabulary and merges", kMaxValues));
  }

  RawTokenizer& raw_;
  std::string problem_;
  Place place_ = Place::kRest;
  std::vector<Json*> stack_;  // open arrays and objects; stable, as only the innermost one grows
  std::string outer_;         // key of the open member of the whole document
  std::string key_;
  std::string entry_;              // key of a vocabulary entry
  std::vector<std::string> pair_;  // of a merge written as an array
  size_t values_ = 0;
};

}  // namespace

Result<RawTokenizer> read_raw_tokenizer(std::string_view text, std::string_view origin) {
  RawTokenizer raw;
  Handler handler(raw);
  try {
    if (!Json::sax_parse(text.begin(), text.end(), &handler)) {
      return fail("{}: {}", origin, handler.problem());
    }
  } catch (const std::exception& problem) {
    return fail("{}: not valid JSON: {}", origin, problem.what());
  }
  return raw;
}

}  // namespace skvis
