// Everything between two attentions, for a block of rows that stays in the second-level cache.
#pragma once

#include "attention.hpp"
#include "pointwise.hpp"
#include "product.hpp"
#include "scratch.hpp"

namespace tinyrerank::TR_ISA {

template <class Product>
struct BlockBuffers {
  typename Product::A *narrow, *wide;  // encoded rows, of width hidden or context, and inter
  float* active;                       // (rows, inter_p) after the activation
  RowCode codes[Product::kBlockRows];

  BlockBuffers(Scratch& scratch, const Geometry& g) {
    using A = typename Product::A;
    constexpr long kRows = Product::kBlockRows;
    narrow = scratch.take<A>(kRows * (g.context > g.hidden_p ? g.context : g.hidden_p));
    wide = scratch.take<A>(kRows * g.inter_p);
    active = scratch.take<float>(kRows * g.inter_p);
  }
};

// Q, K, V of encoded rows, into rows `first`... of the planes of qkv.
template <class Product, class Att>
static inline void project_qkv(const Linear& w, const Geometry& g, const BlockBuffers<Product>& b, int rows, int first,
                               const Group& group) {
  auto* qkv = static_cast<typename Att::E*>(group.qkv);
  multiply<Product>(w, b.narrow, g.hidden_p, b.codes, rows, [&](int row, int column, const Vec* values) {
    auto* out = qkv + (column / g.head_p * group.qkv_rows + first + row) * g.head_p + column % g.head_p;
    for (int v = 0; v < kVectors; ++v) Att::store_row(out + v * kLanes, values[v]);
  });
}

// One row's panel of the up projection through the activation. A gated panel holds 16 gates, then their 16 values.
template <class Product, FeedForward kind>
static inline void activate(const Vec* values, int column, float* row) {
  constexpr bool kExact = Product::kExactActivation;
  if constexpr (kind == FeedForward::original) {
    for (int v = 0; v < kVectors; ++v) store(row + column + v * kLanes, gelu<kExact>(values[v]));
  } else {
    for (int v = 0; v < kVectors / 2; ++v) {
      const Vec gate = kind == FeedForward::geglu ? gelu<kExact>(values[v]) : vmax(values[v], splat(0.0f));
      store(row + column / 2 + v * kLanes, gate * values[kVectors / 2 + v]);
    }
  }
}

template <class Product, FeedForward kind>
static inline void feed_forward_up(const Linear& w, const Geometry& g, BlockBuffers<Product>& b, int rows) {
  multiply<Product>(w, b.narrow, g.hidden_p, b.codes, rows, [&](int row, int column, const Vec* values) {
    activate<Product, kind>(values, column, b.active + long(row) * g.inter_p);
  });
}

// `rows` rows of context -> attention output, residual, norm, feed-forward, residual, norm. `x(row)` is where a
// row goes, `residual(row)` where its input stands; they may be the same.
template <class Product, class X, class Residual>
static inline void dense_half(const Layer& layer, const Geometry& g, const float* context, int rows,
                              BlockBuffers<Product>& b, X&& x, Residual&& residual) {
  for (int r = 0; r < rows; ++r) {
    // The product below meets the residual column by column, a pattern that the hardware does not foresee.
    for (int i = 0; i < g.hidden_p; i += 16) __builtin_prefetch(residual(r) + i, 0, 2);
    b.codes[r] = Product::encode(context + long(r) * g.context, g.context, b.narrow + long(r) * g.context);
  }
  multiply<Product>(layer.out, b.narrow, g.context, b.codes, rows, [&](int row, int column, const Vec* values) {
    for (int v = 0; v < kVectors; ++v) {
      const int i = column + v * kLanes;
      store(x(row) + i, values[v] + load(residual(row) + i));
    }
  });
  for (int r = 0; r < rows; ++r) {
    norm_row(x(r), layer.attention, g.hidden, g.hidden_p, g.eps, x(r));
    b.codes[r] = Product::encode(x(r), g.hidden_p, b.narrow + long(r) * g.hidden_p);
  }
  switch (g.feed_forward) {
    case FeedForward::geglu: feed_forward_up<Product, FeedForward::geglu>(layer.up, g, b, rows); break;
    case FeedForward::reglu: feed_forward_up<Product, FeedForward::reglu>(layer.up, g, b, rows); break;
    case FeedForward::original: feed_forward_up<Product, FeedForward::original>(layer.up, g, b, rows); break;
  }
  for (int r = 0; r < rows; ++r)
    b.codes[r] = Product::encode(b.active + long(r) * g.inter_p, g.inter_p, b.wide + long(r) * g.inter_p);
  multiply<Product>(layer.down, b.wide, g.inter_p, b.codes, rows, [&](int row, int column, const Vec* values) {
    for (int v = 0; v < kVectors; ++v) {
      const int i = column + v * kLanes;
      store(x(row) + i, values[v] + load(x(row) + i));
    }
  });
  for (int r = 0; r < rows; ++r) norm_row(x(r), layer.output, g.hidden, g.hidden_p, g.eps, x(r));
}

template <class Product, class Att>
static void embed(const Model& model, const Group& group, int begin, int end, char* memory) {
  const Geometry& g = model.geometry;
  Scratch scratch(memory);
  BlockBuffers<Product> b(scratch, g);
  for (int first = begin; first < end; first += Product::kBlockRows) {
    const int rows = end - first < Product::kBlockRows ? end - first : Product::kBlockRows;
    for (int r = 0; r < rows; ++r) {
      float* x = group.embedded + long(first + r) * g.hidden_p;
      embed_row(model, group.ids[first + r], x);
      b.codes[r] = Product::encode(x, g.hidden_p, b.narrow + long(r) * g.hidden_p);
    }
    if (g.layers > 1) project_qkv<Product, Att>(model.layers[0].qkv, g, b, rows, first, group);
  }
}

template <class Product, class Att>
static void block(const Model& model, const Group& group, int layer, int begin, int end, char* memory) {
  const Geometry& g = model.geometry;
  Scratch scratch(memory);
  BlockBuffers<Product> b(scratch, g);
  for (int first = begin; first < end; first += Product::kBlockRows) {
    const int rows = end - first < Product::kBlockRows ? end - first : Product::kBlockRows;
    const auto x = [&](int r) { return group.x + long(first + r) * g.hidden_p; };
    const auto embedded = [&](int r) {
      const int row = group.row_of ? group.row_of[first + r] : first + r;
      return group.embedded + long(row) * g.hidden_p;
    };
    const float* context = group.context + long(first) * g.context;
    if (layer == 0) {
      dense_half<Product>(model.layers[layer], g, context, rows, b, x, embedded);
    } else {
      dense_half<Product>(model.layers[layer], g, context, rows, b, x, x);
    }
    if (layer + 2 < g.layers) {
      for (int r = 0; r < rows; ++r)
        b.codes[r] = Product::encode(x(r), g.hidden_p, b.narrow + long(r) * g.hidden_p);
      project_qkv<Product, Att>(model.layers[layer + 1].qkv, g, b, rows, first, group);
    }
  }
}

}  // namespace tinyrerank::TR_ISA
