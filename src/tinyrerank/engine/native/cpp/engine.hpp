// Scores packed sequences: checks them, groups them, and drives the kernels through the layers.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "buffer.hpp"
#include "cpu.hpp"
#include "pool.hpp"
#include "weights.hpp"

namespace tinyrerank {

struct Options {
  Mode mode;
  Isa isa;
  AttentionType attention;
  int threads;
  int max_length;
  int group_tokens;  // sequences are computed together up to this many tokens
};

class Engine {
 public:
  Engine(const Geometry& geometry, const Arrays& arrays, const Options& options);
  ~Engine() { forget_foreign_pool(); }

  // out[i] = logit of ids[starts[i] .. starts[i + 1]). Throws std::invalid_argument on ids or lengths out of range,
  // std::logic_error once closed. Callers queue up.
  void score(const int32_t* ids, size_t tokens, const int32_t* starts, size_t sequences, float* out);
  void close();

  const Kernels& kernels() const { return kernels_; }
  int threads() const { return options_.threads; }
  size_t buffer_bytes() const;

 private:
  void check(const int32_t* ids, size_t tokens, const int32_t* starts, size_t sequences) const;
  void score_group(const int32_t* ids, const int32_t* starts, int docs, float* out);
  int number_distinct(const int32_t* ids, int tokens);
  void forget_foreign_pool();

  Options options_;
  const Kernels& kernels_;
  Weights weights_;
  std::mutex mutex_;
  std::unique_ptr<Pool> pool_;
  long owner_ = 0;  // process that started the pool: threads do not survive a fork
  bool closed_ = false;

  std::vector<int32_t> starts_, order_, distinct_, row_of_;
  std::vector<int32_t> row_of_id_;  // (vocabulary) row in `distinct_`, -1 between groups
  Buffer embedded_, x_, qkv_, context_;
  std::vector<Buffer> scratch_;  // one a thread
};

}  // namespace tinyrerank
