#include "engine.hpp"

#include <unistd.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <string>

namespace tinyrerank {

namespace {

int pieces(int n, int size) { return (n + size - 1) / size; }

// Tokens of a block task, in whole register tiles: at most so many, but an equal share for every thread.
int task_rows(int tokens, int threads, int most) {
  const int tasks = threads * pieces(tokens, threads * most);
  return pieces(pieces(tokens, tasks), kTileRows) * kTileRows;
}

}  // namespace

Engine::Engine(const Geometry& geometry, const Arrays& arrays, const Options& options)
    : options_(options),
      kernels_(choose_kernels(options.mode, options.isa, options.attention)),
      weights_(geometry, arrays, kernels_.format),
      row_of_id_(weights_.vocabulary(), -1),
      scratch_(options.threads) {}

void Engine::check(const int32_t* ids, size_t tokens, const int32_t* starts, size_t sequences) const {
  if (starts[0] != 0 || static_cast<size_t>(starts[sequences]) != tokens)
    throw std::invalid_argument("cu_seqlens must run from 0 to the number of ids, " + std::to_string(tokens) + ", not from " +
                                std::to_string(starts[0]) + " to " + std::to_string(starts[sequences]));
  for (size_t i = 0; i < sequences; ++i) {
    const int64_t length = int64_t(starts[i + 1]) - starts[i];
    if (length < 1 || length > options_.max_length)
      throw std::invalid_argument("sequence " + std::to_string(i) + " has " + std::to_string(length) +
                                  " tokens; 1 to " + std::to_string(options_.max_length) + " are allowed");
  }
  for (size_t i = 0; i < tokens; ++i)
    if (ids[i] < 0 || ids[i] >= weights_.vocabulary())
      throw std::invalid_argument("token id " + std::to_string(ids[i]) + " at position " + std::to_string(i) +
                                  " is out of range; the model has ids 0 to " +
                                  std::to_string(weights_.vocabulary() - 1));
}

void Engine::score(const int32_t* ids, size_t tokens, const int32_t* starts, size_t sequences, float* out) {
  check(ids, tokens, starts, sequences);
  std::lock_guard lock(mutex_);
  if (closed_) throw std::logic_error("the engine is closed");
  forget_foreign_pool();
  if (!pool_) {
    pool_ = std::make_unique<Pool>(options_.threads);
    owner_ = getpid();
  }
  for (size_t first = 0; first < sequences;) {
    size_t last = first + 1;
    while (last < sequences && starts[last + 1] - starts[first] <= options_.group_tokens) ++last;
    score_group(ids + starts[first], starts + first, static_cast<int>(last - first), out + first);
    first = last;
  }
}

// After a fork the pool's threads are gone and cannot be joined: the child lets go of it.
void Engine::forget_foreign_pool() {
  if (owner_ != getpid()) static_cast<void>(pool_.release());
}

// Numbers the distinct ids of a group in order of appearance; fills distinct_ and row_of_.
int Engine::number_distinct(const int32_t* ids, int tokens) {
  distinct_.clear();
  row_of_.resize(tokens);
  for (int i = 0; i < tokens; ++i) {
    int32_t& row = row_of_id_[ids[i]];
    if (row < 0) {
      row = static_cast<int32_t>(distinct_.size());
      distinct_.push_back(ids[i]);
    }
    row_of_[i] = row;
  }
  for (int32_t id : distinct_) row_of_id_[id] = -1;
  return static_cast<int>(distinct_.size());
}

void Engine::score_group(const int32_t* ids, const int32_t* starts, int docs, float* out) {
  const Model& model = weights_.model();
  const Geometry& g = model.geometry;
  starts_.assign(starts, starts + docs + 1);
  for (int32_t& s : starts_) s -= starts[0];
  const int tokens = starts_[docs];
  order_.resize(docs);
  std::iota(order_.begin(), order_.end(), 0);
  const auto length = [&](int doc) { return starts_[doc + 1] - starts_[doc]; };
  std::stable_sort(order_.begin(), order_.end(), [&](int a, int b) { return length(a) > length(b); });

  // With one layer the head reads the embeddings in token order, so nothing is shared.
  const int rows = g.layers > 1 ? number_distinct(ids, tokens) : tokens;
  const size_t padded = size_t(tokens) + kTileRows, wide = size_t(3) * g.context * kernels_.attention_bytes;
  embedded_.reserve((size_t(rows) + kTileRows) * g.hidden_p * sizeof(float));
  if (g.layers > 1) {
    x_.reserve(padded * g.hidden_p * sizeof(float));
    qkv_.reserve(padded * wide);
    context_.reserve(padded * g.context * sizeof(float));
  }
  const size_t scratch = kernels_.scratch_bytes(g, length(order_[0]));
  for (Buffer& buffer : scratch_) buffer.reserve(scratch);

  Group group{docs,
              starts_.data(),
              g.layers > 1 ? distinct_.data() : ids,
              g.layers > 1 ? row_of_.data() : nullptr,
              embedded_.as<float>(),
              x_.as<float>(),
              qkv_.as<void>(),
              std::max(rows, tokens) + kTileRows,
              context_.as<float>(),
              out};
  const auto memory = [&](int thread) { return scratch_[thread].as<char>(); };

  std::vector<Pool::Phase> phases;
  const auto share = [&](int of) { return task_rows(of, options_.threads, kernels_.block_rows); };
  const int embed_rows = share(rows), block_rows = share(tokens);
  phases.push_back({pieces(rows, embed_rows), [&](int task, int thread) {
                      const int begin = task * embed_rows;
                      kernels_.embed(model, group, begin, std::min(begin + embed_rows, rows), memory(thread));
                    }});
  for (int l = 0; l + 1 < g.layers; ++l) {
    phases.push_back({docs * g.heads, [&, l](int task, int thread) {
                        kernels_.attend(model, group, l, order_[task / g.heads], task % g.heads, memory(thread));
                      }});
    phases.push_back({pieces(tokens, block_rows), [&, l](int task, int thread) {
                        const int begin = task * block_rows;
                        kernels_.block(model, group, l, begin, std::min(begin + block_rows, tokens), memory(thread));
                      }});
  }
  phases.push_back({pieces(docs, kTileRows), [&](int task, int thread) {
                      const int begin = task * kTileRows;
                      kernels_.finish(model, group, begin, std::min(begin + kTileRows, docs), memory(thread));
                    }});
  pool_->run(phases);
}

size_t Engine::buffer_bytes() const {
  size_t bytes = embedded_.bytes() + x_.bytes() + qkv_.bytes() + context_.bytes();
  for (const Buffer& buffer : scratch_) bytes += buffer.bytes();
  return bytes;
}

void Engine::close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
  forget_foreign_pool();
  pool_.reset();
  for (Buffer* buffer : {&embedded_, &x_, &qkv_, &context_}) *buffer = Buffer();
  scratch_.clear();
}

}  // namespace tinyrerank
