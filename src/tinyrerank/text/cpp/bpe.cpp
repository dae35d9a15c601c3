#include "bpe.hpp"

#include <utility>

namespace tinyrerank {

namespace {

[[noreturn]] void malformed(const char* what) { throw std::invalid_argument(std::string("tokenizer.json: ") + what); }

std::string utf8(uint32_t c) {
  std::string out;
  if (c < 0x80) {
    out += char(c);
  } else if (c < 0x800) {
    out += char(0xC0 | c >> 6);
    out += char(0x80 | (c & 63));
  } else if (c < 0x10000) {
    out += char(0xE0 | c >> 12);
    out += char(0x80 | (c >> 6 & 63));
    out += char(0x80 | (c & 63));
  } else {
    out += char(0xF0 | c >> 18);
    out += char(0x80 | (c >> 12 & 63));
    out += char(0x80 | (c >> 6 & 63));
    out += char(0x80 | (c & 63));
  }
  return out;
}

// Walks over JSON text; every step checks for the end.
class Json {
 public:
  explicit Json(std::string_view text) : text_(text) {}

  size_t at() const { return at_; }

  char peek() {
    while (at_ < text_.size() && std::strchr(" \t\r\n", text_[at_]) && text_[at_]) ++at_;
    if (at_ == text_.size()) malformed("cut short");
    return text_[at_];
  }

  bool take(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }

  void expect(char c) {
    if (!take(c)) malformed("not sound JSON");
  }

  // Calls `entry` once for each key of an object, before its value.
  template <class Entry>
  void object(Entry&& entry) {
    expect('{');
    if (take('}')) return;
    do {
      std::string key = string();
      expect(':');
      entry(std::move(key));
    } while (take(','));
    expect('}');
  }

  template <class Item>
  void array(Item&& item) {
    expect('[');
    if (take(']')) return;
    do item();
    while (take(','));
    expect(']');
  }

  std::string string() {
    expect('"');
    std::string out;
    while (true) {
      const size_t from = at_;
      while (at_ < text_.size() && text_[at_] != '"' && text_[at_] != '\\') ++at_;
      out.append(text_.substr(from, at_ - from));
      if (at_ == text_.size()) malformed("cut short inside a string");
      if (text_[at_++] == '"') return out;
      out += escape();
    }
  }

  int64_t integer() {
    peek();
    int64_t value = 0;
    const size_t from = at_;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9' && at_ - from < 10) value = value * 10 + (text_[at_++] - '0');
    if (at_ == from) malformed("an id is not a whole number");
    return value;
  }

  void skip(int depth = 0) {
    if (depth > 100) malformed("nested too deep");
    const char c = peek();
    if (c == '"') {
      string();
    } else if (c == '{') {
      object([&](std::string) { skip(depth + 1); });
    } else if (c == '[') {
      array([&] { skip(depth + 1); });
    } else {
      const size_t from = at_;
      while (at_ < text_.size() && !std::strchr(",]} \t\r\n", text_[at_])) ++at_;
      if (at_ == from) malformed("not sound JSON");
    }
  }

 private:
  uint32_t hex4() {
    if (text_.size() - at_ < 4) malformed("cut short inside a string");
    uint32_t value = 0;
    for (int i = 0; i < 4; ++i) {
      const char c = text_[at_++];
      const int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
      if (digit < 0) malformed("a bad escape in a string");
      value = value << 4 | uint32_t(digit);
    }
    return value;
  }

  std::string escape() {
    if (at_ == text_.size()) malformed("cut short inside a string");
    const char c = text_[at_++];
    static constexpr char kFrom[] = "\"\\/bfnrt", kTo[] = "\"\\/\b\f\n\r\t";
    if (const char* found = c ? std::strchr(kFrom, c) : nullptr) return std::string(1, kTo[found - kFrom]);
    if (c != 'u') malformed("a bad escape in a string");
    uint32_t code = hex4();
    if (code >= 0xD800 && code < 0xDC00) {
      if (text_.substr(at_, 2) != "\\u") malformed("half a surrogate pair");
      at_ += 2;
      const uint32_t low = hex4();
      if (low < 0xDC00 || low > 0xDFFF) malformed("half a surrogate pair");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    } else if (code >= 0xDC00 && code < 0xE000) {
      malformed("half a surrogate pair");
    }
    return utf8(code);
  }

  std::string_view text_;
  size_t at_ = 0;
};

// The code point at `at`, which moves past it; UTF-8 is taken to be sound, as CPython makes it.
uint32_t next_character(std::string_view s, size_t& at) {
  const auto byte = [&](size_t i) { return i < s.size() ? uint32_t(uint8_t(s[i])) : 0u; };
  const uint32_t first = byte(at);
  if (first < 0x80) return ++at, first;
  if (first < 0xE0) return at += 2, (first & 31) << 6 | (byte(at - 1) & 63);
  if (first < 0xF0) return at += 3, (first & 15) << 12 | (byte(at - 2) & 63) << 6 | (byte(at - 1) & 63);
  return at += 4, 0x10FFFF;
}

}  // namespace

uint32_t Bpe::hash(std::string_view word) {
  uint64_t h = 0xcbf29ce484222325ull;
  for (char c : word) h = (h ^ uint8_t(c)) * 0x100000001b3ull;
  return static_cast<uint32_t>(h ^ h >> 29);
}

Bpe::Bpe(std::string_view text) {
  Json json(text);
  std::vector<Merge> merges;
  std::pair<size_t, size_t> vocab_at, merges_at;
  json.object([&](std::string key) {
    if (key != "model") return json.skip();
    json.object([&](std::string part) {
      json.peek();
      const size_t from = json.at();
      if (part == "vocab") {
        if (vocab_at.second) malformed("two vocabularies");
        json.object([&](std::string word) { add_word(std::move(word), json.integer()); });
        vocab_at = {from, json.at()};
      } else if (part == "merges") {
        if (merges_at.second || !vocab_at.second) malformed("the merges do not follow the vocabulary");
        index_words();
        merges.reserve(words_.size());
        json.array([&] {
          if (json.take('[')) {
            const std::string left = json.string();
            json.expect(',');
            merges.push_back(resolve(left, json.string()));
            json.expect(']');
          } else {
            const std::string both = json.string();
            const size_t space = both.find(' ');
            if (space == std::string::npos) malformed("a merge is not a pair");
            merges.push_back(resolve(both.substr(0, space), both.substr(space + 1)));
          }
        });
        merges_at = {from, json.at()};
      } else {
        json.skip();
      }
    });
  });
  if (!merges_at.second) malformed("no vocabulary or no merges");
  rest_.append(text.substr(0, vocab_at.first)).append("null");
  rest_.append(text.substr(vocab_at.second, merges_at.first - vocab_at.second)).append("null");
  rest_.append(text.substr(merges_at.second));
  index_merges(merges);
  index_characters();
}

void Bpe::add_word(std::string word, int64_t id) {
  if (id < 0 || id >= (1 << 24)) malformed("an id is out of range");
  if (size_t(id) >= words_.size()) words_.resize(id + 1);
  if (word.empty() || !words_[id].empty()) malformed("an empty word, or two words of one id");
  words_[id] = std::move(word);
}

void Bpe::index_words() {
  size_t slots = 16;
  while (slots < 2 * words_.size()) slots *= 2;
  word_slots_.assign(slots, -1);
  for (size_t id = 0; id < words_.size(); ++id) {
    if (words_[id].empty()) malformed("an id without a word");
    size_t slot = hash(words_[id]) & (slots - 1);
    for (; word_slots_[slot] >= 0; slot = (slot + 1) & (slots - 1))
      if (words_[word_slots_[slot]] == words_[id]) malformed("two ids of one word");
    word_slots_[slot] = static_cast<int32_t>(id);
  }
}

int32_t Bpe::find(std::string_view word) const {
  const size_t mask = word_slots_.size() - 1;
  for (size_t slot = hash(word) & mask; word_slots_[slot] >= 0; slot = (slot + 1) & mask)
    if (words_[word_slots_[slot]] == word) return word_slots_[slot];
  return -1;
}

Bpe::Merge Bpe::resolve(const std::string& a, const std::string& b) const {
  const int32_t left = find(a), right = find(b), joined = find(a + b);
  if (left < 0 || right < 0 || joined < 0) malformed("a merge of words that the vocabulary lacks");
  return {pair_of(left, right), 0, joined};
}

void Bpe::index_merges(const std::vector<Merge>& merges) {
  size_t slots = 16;
  while (slots < 2 * merges.size()) slots *= 2;
  merges_.resize(slots);
  int32_t rank = 0;
  for (const Merge& merge : merges) {
    size_t slot = slot_of(merge.pair, slots - 1);
    while (merges_[slot].pair != kNoPair && merges_[slot].pair != merge.pair) slot = (slot + 1) & (slots - 1);
    merges_[slot] = {merge.pair, rank++, merge.joined};  // of two alike, the later one counts
  }
}

const Bpe::Merge* Bpe::merge(int32_t a, int32_t b) const {
  const uint64_t pair = pair_of(a, b);
  const size_t mask = merges_.size() - 1;
  for (size_t slot = slot_of(pair, mask); merges_[slot].pair != kNoPair; slot = (slot + 1) & mask)
    if (merges_[slot].pair == pair) return &merges_[slot];
  return nullptr;
}

// The characters that are sure, their kind, and the id of their lower case.
void Bpe::index_characters() {
  kinds_.assign(kCharacters, Kind::unsure);
  character_ids_.assign(kCharacters, -1);
  const auto set = [&](uint32_t c, Kind kind, uint32_t lower) {
    kinds_[c] = kind;
    character_ids_[c] = find(utf8(lower));
  };
  for (uint32_t c = 0; c < 0x80; ++c) {
    const bool upper = c >= 'A' && c <= 'Z';
    const bool word = upper || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
    const bool space = c == ' ' || (c >= '\t' && c <= '\r');
    set(c, word ? Kind::word : space ? Kind::space : Kind::other, upper ? c + 32 : c);
  }
  for (uint32_t c = 0xC0; c <= 0xFF; ++c) {
    if (c == 0xD7 || c == 0xF7) continue;
    set(c, Kind::word, c < 0xDF ? c + 32 : c);
  }
  set(0xA0, Kind::space, 0xA0);
  for (uint32_t c : {0xA3, 0xA7, 0xA9, 0xAB, 0xAE, 0xB0, 0xB1, 0xBB, 0xD7, 0xF7, 0x20AC}) set(c, Kind::other, c);
  for (uint32_t c = 0x2012; c <= 0x2015; ++c) set(c, Kind::other, c);  // dashes
  for (uint32_t c = 0x2018; c <= 0x201F; ++c) set(c, Kind::other, c);  // quotation marks
  for (uint32_t c : {0x2020, 0x2021, 0x2022, 0x2026}) set(c, Kind::other, c);
}

void Bpe::configure(int32_t unknown, std::vector<std::string> specials) {
  if (unknown < 0 || size_t(unknown) >= words_.size()) malformed("the unknown token has no id");
  unknown_ = unknown;
  specials_ = std::move(specials);
}

// Joins the pair of lowest rank, the leftmost of equals, until there is none.
void Bpe::encode_run(std::vector<Symbol>& run, int32_t begin, Encoded& out) const {
  thread_local std::vector<const Merge*> next;  // of symbol i with symbol i + 1
  next.clear();
  for (size_t i = 0; i + 1 < run.size(); ++i)
    next.push_back(run[i].id < 0 || run[i + 1].id < 0 ? nullptr : merge(run[i].id, run[i + 1].id));
  while (true) {
    size_t best = next.size();
    for (size_t i = 0; i < next.size(); ++i)
      if (next[i] && (best == next.size() || next[i]->rank < next[best]->rank)) best = i;
    if (best == next.size()) break;
    run[best] = {next[best]->joined, run[best + 1].end};
    run.erase(run.begin() + best + 1);
    next.erase(next.begin() + best);
    if (best > 0) next[best - 1] = run[best - 1].id < 0 ? nullptr : merge(run[best - 1].id, run[best].id);
    if (best < next.size()) next[best] = run[best + 1].id < 0 ? nullptr : merge(run[best].id, run[best + 1].id);
  }
  for (const Symbol& symbol : run) {
    out.ids.push_back(symbol.id < 0 ? unknown_ : symbol.id);
    out.starts.push_back(begin);
    out.ends.push_back(symbol.end);
    begin = symbol.end;
  }
  run.clear();
}

Encoded Bpe::encode(std::string_view text) const {
  if (unknown_ < 0) throw std::logic_error("configure it first");
  Encoded out;
  for (const std::string& special : specials_)
    if (text.find(special) != std::string_view::npos) out.sure = false;
  thread_local std::vector<Symbol> run;
  run.clear();
  Kind kind = Kind::space;
  int32_t position = 0, begin = 0;
  for (size_t at = 0; out.sure && at < text.size(); ++position) {
    const uint32_t c = next_character(text, at);
    const Kind here = c < kCharacters ? kinds_[c] : Kind::unsure;
    if (here != kind) {
      if (!run.empty()) encode_run(run, begin, out);
      kind = here;
      begin = position;
    }
    if (here == Kind::unsure || run.size() == kLongestRun) out.sure = false;
    if (here == Kind::word || here == Kind::other) run.push_back({character_ids_[c], position + 1});
  }
  if (out.sure && !run.empty()) encode_run(run, begin, out);
  return out;
}

}  // namespace tinyrerank
