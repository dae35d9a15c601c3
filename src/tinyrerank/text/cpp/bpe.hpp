// Byte-pair encoding over characters, for the plain texts that most texts are: it reads tokenizer.json in a sixth of
// the time that the full library takes, and encodes what it is sure of. See ../plain.py for the kind of tokenizer.
//
// Sure means: ASCII, Latin letters with accents, common punctuation. For each of these characters normalization (NFC,
// lower case) is one character for one, and the division into words is known. Other texts are left to the library.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace tinyrerank {

struct Encoded {
  bool sure = true;  // whether the text was encoded at all
  std::vector<int32_t> ids, starts, ends;  // token ids and the characters they stand for
};

class Bpe {
 public:
  // Reads "model.vocab" and "model.merges" of a tokenizer.json. Throws std::invalid_argument where they are not an
  // object of distinct words with ids 0..n - 1, and pairs of its words whose joins are words.
  explicit Bpe(std::string_view json);

  size_t vocab_size() const { return words_.size(); }
  // The id of a word, or -1.
  int32_t find(std::string_view word) const;
  // The file with vocab and merges left out (null), for whoever looks at the rest of it.
  const std::string& rest() const { return rest_; }

  // Texts that contain one of `specials` are not encoded. `unknown` is the id for characters without one.
  void configure(int32_t unknown, std::vector<std::string> specials);
  Encoded encode(std::string_view utf8) const;

 private:
  enum class Kind : uint8_t { unsure, space, word, other };
  struct Merge {
    uint64_t pair = kNoPair;
    int32_t rank = 0, joined = 0;
  };
  struct Symbol {
    int32_t id, end;
  };
  static constexpr uint64_t kNoPair = std::numeric_limits<uint64_t>::max();
  static constexpr size_t kCharacters = 0x2140;  // code points that can be sure
  static constexpr size_t kLongestRun = 512;     // characters of a word; merging takes their square

  static uint32_t hash(std::string_view word);
  static uint64_t pair_of(int32_t a, int32_t b) { return uint64_t(uint32_t(a)) << 32 | uint32_t(b); }
  static size_t slot_of(uint64_t pair, size_t mask) { return (pair * 0x9E3779B97F4A7C15ull >> 40) & mask; }
  void add_word(std::string word, int64_t id);
  Merge resolve(const std::string& a, const std::string& b) const;
  void index_words();
  void index_merges(const std::vector<Merge>& merges);
  void index_characters();
  const Merge* merge(int32_t a, int32_t b) const;
  void encode_run(std::vector<Symbol>& run, int32_t begin, Encoded& out) const;

  std::string rest_;
  std::vector<std::string> words_;           // by id
  std::vector<int32_t> word_slots_;          // open addressing: id or -1
  std::vector<Merge> merges_;                // open addressing
  std::vector<Kind> kinds_;                  // by code point
  std::vector<int32_t> character_ids_;       // id of the lower-case character
  std::vector<std::string> specials_;
  int32_t unknown_ = -1;
};

}  // namespace tinyrerank
