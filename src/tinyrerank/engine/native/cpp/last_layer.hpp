// The last layer, for the first token only: nothing else reaches the pooler.
//
// With r = Wk^T q a score is r . x_j (the key bias adds the same to every score and drops out of the softmax), and
// the context is Wv (sum_j p_j x_j) + bv, since the weights sum to one. So keys and values of the other tokens are
// never projected. All of it in fp32; the feed-forward goes through the ordinary block products.
#pragma once

#include "block.hpp"

namespace tinyrerank::TR_ISA {

struct HeadRows {
  int padded_heads;  // a multiple of kTileRows
  float *first, *query, *absorbed, *scores, *mixed, *context, *out, *pooled;

  HeadRows(Scratch& scratch, const Geometry& g, int longest) {
    padded_heads = (g.heads + kTileRows - 1) / kTileRows * kTileRows;
    first = scratch.take<float>(long(kTileRows) * g.hidden_p);
    query = scratch.take<float>(long(kTileRows) * g.context);
    absorbed = scratch.take<float>(long(kTileRows) * g.heads * g.hidden_p);
    scores = scratch.take<float>(long(padded_heads) * longest);
    mixed = scratch.take<float>(long(kTileRows) * padded_heads * g.hidden_p);
    context = scratch.take<float>(long(kTileRows) * g.context);
    out = scratch.take<float>(long(kTileRows) * g.hidden_p);
    pooled = scratch.take<float>(long(kTileRows) * g.hidden_p);
  }
};

static inline void add_bias(float* rows, const float* bias, int n) {
  for (int r = 0; r < kTileRows; ++r)
    for (int i = 0; i < n; i += kLanes) store(rows + long(r) * n + i, load(rows + long(r) * n + i) + load(bias + i));
}

// scores[head][j] = absorbed[head] . x_j - slope j for all tokens of one sequence, then their softmax.
static inline void score_tokens(const Model& model, const float* x, int n, const float* absorbed, float* scores) {
  const Geometry& g = model.geometry;
  for (int j = 0; j < n; ++j) {
    const float* row = x + long(j) * g.hidden_p;
    int head = 0;
    for (; head + 4 <= g.heads; head += 4) {
      Vec sum[4] = {};
      for (int i = 0; i < g.hidden_p; i += kLanes) {
        const Vec v = load(row + i);
        for (int h = 0; h < 4; ++h) sum[h] += v * load(absorbed + long(head + h) * g.hidden_p + i);
      }
      for (int h = 0; h < 4; ++h) scores[long(head + h) * n + j] = reduce_add(sum[h]) - model.slopes[head + h] * j;
    }
    for (; head < g.heads; ++head) {
      Vec sum = {};
      for (int i = 0; i < g.hidden_p; i += kLanes) sum += load(row + i) * load(absorbed + long(head) * g.hidden_p + i);
      scores[long(head) * n + j] = reduce_add(sum) - model.slopes[head] * j;
    }
  }
  for (int head = 0; head < g.heads; ++head) {
    float* s = scores + long(head) * n;
    float top = s[0], total = 0;
    for (int j = 1; j < n; ++j) top = s[j] > top ? s[j] : top;
    for (int j = 0; j < n; j += kLanes) {
      Vec w = exp2v<true>(load(s + j) - top);
      if (j + kLanes > n)
        for (int i = n - j; i < kLanes; ++i) w[i] = s[j + i];  // the next head's scores
      store(s + j, w);
    }
    for (int j = 0; j < n; ++j) total += s[j];
    const float inverse = 1.0f / total;
    for (int j = 0; j < n; ++j) s[j] *= inverse;
  }
}

template <class Product>
static void finish(const Model& model, const Group& group, int begin, int end, char* memory) {
  const Geometry& g = model.geometry;
  const Head& head = model.head;
  const int docs = end - begin, hidden = g.hidden_p;
  int longest = 0;
  for (int d = begin; d < end; ++d) {
    const int n = group.starts[d + 1] - group.starts[d];
    longest = n > longest ? n : longest;
  }
  Scratch scratch(memory);
  BlockBuffers<Product> b(scratch, g);
  HeadRows rows(scratch, g, longest);
  const float* x = g.layers > 1 ? group.x : group.embedded;

  for (int d = 0; d < docs; ++d)
    std::memcpy(rows.first + long(d) * hidden, x + long(group.starts[begin + d]) * hidden, hidden * sizeof(float));
  multiply_fp32(rows.first, hidden, head.query_t, g.context, hidden, g.context, rows.query, g.context, docs);
  add_bias(rows.query, head.query_bias, g.context);
  for (int h = 0; h < g.heads; ++h)
    multiply_fp32(rows.query + h * g.head_p, g.context, head.key + long(h) * g.head_p * hidden, hidden, g.head_p,
                  hidden, rows.absorbed + long(h) * hidden, long(g.heads) * hidden, docs);
  for (int d = 0; d < docs; ++d) {
    const int n = group.starts[begin + d + 1] - group.starts[begin + d];
    const float* tokens = x + long(group.starts[begin + d]) * hidden;
    score_tokens(model, tokens, n, rows.absorbed + long(d) * g.heads * hidden, rows.scores);
    for (int h = 0; h < g.heads; h += kTileRows)
      multiply_fp32(rows.scores + long(h) * n, n, tokens, hidden, n, hidden,
                    rows.mixed + (long(d) * rows.padded_heads + h) * hidden, hidden, g.heads - h < kTileRows ? g.heads - h : kTileRows);
  }
  for (int h = 0; h < g.heads; ++h)
    multiply_fp32(rows.mixed + long(h) * hidden, long(rows.padded_heads) * hidden, head.value_t + h * g.head_p,
                  g.context, hidden, g.head_p, rows.context + h * g.head_p, g.context, docs);
  add_bias(rows.context, head.value_bias, g.context);

  const auto first = [&](int r) { return rows.first + long(r) * hidden; };
  const auto out = [&](int r) { return rows.out + long(r) * hidden; };
  dense_half<Product>(model.layers[g.layers - 1], g, rows.context, docs, b, out, first);

  multiply_fp32(rows.out, hidden, head.pooler_t, hidden, hidden, hidden, rows.pooled, hidden, docs);
  add_bias(rows.pooled, head.pooler_bias, hidden);
  for (int d = 0; d < docs; ++d) {
    float logit = head.classifier_bias;
    for (int i = 0; i < g.hidden; ++i) logit += head.classifier[i] * __builtin_tanhf(rows.pooled[long(d) * hidden + i]);
    group.logits[begin + d] = logit;
  }
}

}  // namespace tinyrerank::TR_ISA
