// Checks the engine without Python: every kernel this machine has against the twin's logits, bits against threads,
// groups, order and callers, and wrong input against the errors it must give. For sanitizers and for emulation.
//
//   driver FILE.case ...      (cases.py writes them)
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "bpe.hpp"
#include "engine.hpp"

using namespace tinyrerank;

namespace {

int failures = 0;

void expect(bool ok, const std::string& what) {
  if (ok) return;
  ++failures;
  std::printf("FAILED: %s\n", what.c_str());
}

struct Case {
  std::string name;
  Geometry geometry{};
  int max_length = 0;
  std::vector<std::vector<char>> storage;
  Arrays arrays;
  std::vector<int32_t> ids, starts;
  std::vector<double> expected;
  bool int8 = false;
};

class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path) {
    std::ifstream file(path, std::ios::binary);
    bytes_.assign(std::istreambuf_iterator<char>(file), {});
  }
  void read(void* to, size_t n) {
    if (n > bytes_.size() - at_) throw std::runtime_error(path_ + " is cut short");
    std::memcpy(to, bytes_.data() + at_, n);
    at_ += n;
  }
  template <class T>
  T number() {
    T value;
    read(&value, sizeof value);
    return value;
  }

 private:
  std::string path_;
  std::vector<char> bytes_;
  size_t at_ = 0;
};

Case load(const std::string& path) {
  Reader file(path);
  char magic[8];
  file.read(magic, 8);
  if (std::memcmp(magic, "TRCASE1\n", 8)) throw std::runtime_error(path + " is no case");
  Case c;
  c.name = path.substr(path.rfind('/') + 1);
  Geometry& g = c.geometry;
  g.hidden = file.number<int32_t>();
  g.hidden_p = file.number<int32_t>();
  g.heads = file.number<int32_t>();
  g.head_p = file.number<int32_t>();
  g.context = g.heads * g.head_p;
  g.inter_p = file.number<int32_t>();
  g.layers = file.number<int32_t>();
  g.feed_forward = static_cast<FeedForward>(file.number<int32_t>());
  c.max_length = file.number<int32_t>();
  g.eps = file.number<float>();
  const int count = file.number<int32_t>();
  for (int i = 0; i < count; ++i) {
    std::string name(file.number<int32_t>(), ' ');
    file.read(name.data(), name.size());
    Array& array = c.arrays[name];
    array.is_int8 = file.number<int32_t>();
    size_t size = array.is_int8 ? 1 : 4;
    for (int dims = file.number<int32_t>(); dims > 0; --dims) {
      array.shape.push_back(file.number<int64_t>());
      size *= array.shape.back();
    }
    file.read(c.storage.emplace_back(size).data(), size);
    array.data = c.storage.back().data();
    c.int8 |= array.is_int8 && name == "0.out.weight";
  }
  c.ids.resize(file.number<int32_t>());
  const int n = file.number<int32_t>();
  c.starts.resize(n + 1);
  c.expected.resize(n);
  file.read(c.ids.data(), c.ids.size() * 4);
  file.read(c.starts.data(), c.starts.size() * 4);
  file.read(c.expected.data(), n * 8);
  return c;
}

std::vector<float> score(Engine& engine, const std::vector<int32_t>& ids, const std::vector<int32_t>& starts) {
  std::vector<float> out(starts.size() - 1, NAN);
  engine.score(ids.data(), ids.size(), starts.data(), out.size(), out.data());
  return out;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && !std::memcmp(a.data(), b.data(), a.size() * sizeof(float));
}

// The sequences of a case in another order.
std::vector<float> score_reversed(Engine& engine, const Case& c) {
  std::vector<int32_t> ids, starts{0};
  for (size_t i = c.expected.size(); i-- > 0;) {
    ids.insert(ids.end(), c.ids.begin() + c.starts[i], c.ids.begin() + c.starts[i + 1]);
    starts.push_back(static_cast<int32_t>(ids.size()));
  }
  std::vector<float> out = score(engine, ids, starts);
  std::reverse(out.begin(), out.end());
  return out;
}

void check_logits(const Case& c, const std::vector<float>& logits, const std::string& path, double tolerance) {
  double largest = 0, mean = 0, square = 0, sum = 0;
  const double n = c.expected.size();
  for (double x : c.expected) mean += x / n;
  for (double x : c.expected) square += (x - mean) * (x - mean) / n;
  for (size_t i = 0; i < logits.size(); ++i) {
    const double difference = std::fabs(logits[i] - c.expected[i]);
    largest = difference <= largest ? largest : difference;  // NaN wins
    sum += difference / n;
  }
  std::printf("%-22s %-32s max %.2e mean %.2e, logit sd %.3f\n", c.name.c_str(), path.c_str(), largest, sum, std::sqrt(square));
  expect(largest <= tolerance * std::sqrt(square), c.name + " " + path + " is too far from the twin");
}

void check_bits(const Case& c, const Options& options, const std::vector<float>& logits, const std::string& path) {
  for (const auto& [threads, group_tokens] : {std::pair(1, 90), std::pair(3, 1), std::pair(3, 8192)}) {
    Options other = options;
    other.threads = threads;
    other.group_tokens = group_tokens;
    Engine engine(c.geometry, c.arrays, other);
    expect(same_bits(score(engine, c.ids, c.starts), logits), path + ": threads or groups change bits");
    expect(same_bits(score_reversed(engine, c), logits), path + ": the order changes bits");
  }
}

// Several callers of one engine, which is closed while they call.
void check_callers(const Case& c, const Options& options, const std::vector<float>& logits, const std::string& path) {
  Engine engine(c.geometry, c.arrays, options);
  std::vector<int> wrong(3);
  std::vector<std::thread> callers;
  for (int i = 0; i < 3; ++i)
    callers.emplace_back([&, i] {
      try {
        for (int call = 0; call < 3; ++call) wrong[i] += !same_bits(score(engine, c.ids, c.starts), logits);
      } catch (const std::logic_error&) {  // closed
      }
    });
  score(engine, c.ids, c.starts);
  engine.close();
  for (std::thread& caller : callers) caller.join();
  for (int n : wrong) expect(n == 0, path + ": callers disturb each other");
}

void refuses(Engine& engine, const std::vector<int32_t>& ids, const std::vector<int32_t>& starts, const std::string& what) {
  try {
    score(engine, ids, starts);
    expect(false, what + " was not refused");
  } catch (const std::invalid_argument&) {
  }
}

void check_refusals(const Case& c, const Options& options) {
  Engine engine(c.geometry, c.arrays, options);
  const auto n = [](int count) { return std::vector<int32_t>(count, 1); };
  refuses(engine, {-1}, {0, 1}, "id -1");
  refuses(engine, {1 << 30}, {0, 1}, "a huge id");
  refuses(engine, n(4), {0, 2, 2, 4}, "an empty sequence");
  refuses(engine, n(4), {0, 3, 2, 4}, "falling bounds");
  refuses(engine, n(4), {0, 5}, "bounds beyond the ids");
  refuses(engine, n(4), {1, 4}, "bounds that begin at 1");
  refuses(engine, n(4), {0, -2147483647, 4}, "a negative bound");
  refuses(engine, n(c.max_length + 1), {0, c.max_length + 1}, "a sequence one token too long");
  expect(score(engine, {}, {0}).empty(), "no sequence at all");
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {
    std::vector<int32_t> ids(random() % 8), starts(1 + random() % 6);
    for (int32_t& id : ids) id = static_cast<int32_t>(random() % 160) - 4;
    for (int32_t& start : starts) start = static_cast<int32_t>(random() % 10) - 1;
    if (random() % 2) std::sort(starts.begin(), starts.end()), starts.front() = 0, starts.back() = static_cast<int32_t>(ids.size());
    try {
      for (float logit : score(engine, ids, starts)) expect(std::isfinite(logit), "a random request gives no number");
    } catch (const std::invalid_argument&) {
    }
  }
}

void check_missing_arrays(const Case& c, const Options& options) {
  for (const auto& [name, array] : c.arrays) {
    Arrays fewer = c.arrays, wrong = c.arrays;
    fewer.erase(name);
    wrong[name].shape.push_back(1);
    for (const Arrays& arrays : {fewer, wrong}) {
      try {
        Engine engine(c.geometry, arrays, options);
        expect(false, "a model without a sound " + name + " was not refused");
      } catch (const std::invalid_argument&) {
      }
    }
  }
}

// The reader of tokenizer.json on damaged files, and the encoder on any bytes: an answer or an error, never a crash.
void check_tokenizer() {
  const std::string sound =
      R"({"model": {"type": "BPE", "unk_token": "?", "vocab": {"?": 0, "a": 1, "b": 2, "ab": 3, "\u00e9": 4, "\ud83d\ude00": 5},)"
      R"( "merges": [["a", "b"]], "x": [1, -2.5e3, null, {"y": "\n"}]}, "added_tokens": []})";
  const Bpe plain(sound);
  expect(plain.vocab_size() == 6 && plain.find("ab") == 3 && plain.find("abc") < 0, "the vocabulary is read wrong");
  std::mt19937 random(2);
  const auto bytes = [&](size_t most) {
    std::string out(random() % (most + 1), ' ');
    for (char& c : out) c = random() % 3 ? "abAB \xc3\xa9\"[]{},:\\u0"[random() % 18] : char(random());
    return out;
  };
  int read = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string damaged = sound;
    for (unsigned change = random() % 3; change > 0; --change) damaged.replace(random() % damaged.size(), random() % 4, bytes(3));
    if (random() % 4 == 0) damaged.resize(random() % damaged.size());
    try {
      Bpe bpe(damaged);
      ++read;
      bpe.configure(0, {"<s>", ""});
      bpe.configure(0, {"<s>"});
      const Encoded found = bpe.encode(bytes(700));
      expect(found.ids.size() == found.starts.size() && found.ids.size() == found.ends.size(), "ids and places differ in number");
    } catch (const std::invalid_argument&) {
    }
  }
  expect(read > 1000, "almost no file was read");
}

void check_peak() {
  const Kernels& best = choose_kernels(Mode::int8, Isa::automatic, AttentionType::automatic);
  expect(peak_ops(best, 2, 0.01) > 1e6, "the peak is too low to be true");
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::pair<const char*, Isa>> isas = {
      {"avx512", Isa::avx512}, {"avx2", Isa::avx2}, {"neon", Isa::neon}, {"portable", Isa::portable}};
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  std::printf("best here: %s\n", best_isa());
  int paths = 0;
  for (int i = 1; i < argc; ++i) {
    const Case c = load(argv[i]);
    for (const auto& [isa_name, isa] : isas)
      for (Mode mode : c.int8 ? std::vector{Mode::int8} : std::vector{Mode::fp32, Mode::bf16})
        for (AttentionType attention : {AttentionType::fp32, AttentionType::bf16}) {
          const Options options{mode, isa, attention, 2, c.max_length, 8192};
          try {
            choose_kernels(mode, isa, attention);
          } catch (const std::invalid_argument&) {
            continue;  // this machine lacks it
          }
          Engine engine(c.geometry, c.arrays, options);
          const Kernels& k = engine.kernels();
          const std::string path = std::string(k.isa) + " " + k.products + ", attention " + k.attention;
          const std::vector<float> logits = score(engine, c.ids, c.starts);
          check_logits(c, logits, path, mode == Mode::int8 ? 0.25 : mode == Mode::bf16 || attention == AttentionType::bf16 ? 0.12 : 2e-5);
          check_bits(c, options, logits, path);
          check_callers(c, options, logits, path);
          ++paths;
        }
    if (i == 1) {
      const Options options{c.int8 ? Mode::int8 : Mode::fp32, Isa::automatic, AttentionType::fp32, 2, c.max_length, 8192};
      check_refusals(c, options);
      check_missing_arrays(c, options);
    }
  }
  check_peak();
  check_tokenizer();
  expect(paths > 0, "nothing was checked; give the files that cases.py writes");
  std::printf("%d paths checked, %d failures\n", paths, failures);
  return failures ? 1 : 0;
}
