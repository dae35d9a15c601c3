// Row-wise work between the products: LayerNorm, the feed-forward's activations, embeddings.
#pragma once

#include "kernels.hpp"
#include "simd.hpp"

namespace tinyrerank::TR_ISA {

// out = (in - mean) / sqrt(variance + eps) * gain + bias over the first n of n_p values; the padding, zero in
// `in`, `gain` and `bias`, stays zero. `in` may be `out`.
static inline void norm_row(const float* in, const Norm& norm, int n, int n_p, float eps, float* out) {
  Vec sum0 = {}, sum1 = {};
  for (int i = 0; i < n_p; i += 2 * kLanes) {
    sum0 += load(in + i);
    sum1 += load(in + i + kLanes);
  }
  const float mean = reduce_add(sum0 + sum1) / n;
  Vec square0 = {}, square1 = {};
  const int whole = n / (2 * kLanes) * (2 * kLanes);
  for (int i = 0; i < whole; i += 2 * kLanes) {
    const Vec d0 = load(in + i) - mean, d1 = load(in + i + kLanes) - mean;
    square0 += d0 * d0;
    square1 += d1 * d1;
  }
  float square = reduce_add(square0 + square1);
  for (int i = whole; i < n; ++i) square += (in[i] - mean) * (in[i] - mean);
  const float inverse = 1.0f / __builtin_sqrtf(square / n + eps);
  for (int i = 0; i < n_p; i += kLanes)
    store(out + i, (load(in + i) - mean) * inverse * load(norm.gain + i) + load(norm.bias + i));
}

// x * Phi(x), Phi the normal distribution function.
//
// kExact: Phi(-|x|) by formula 7.1.26 of Abramowitz and Stegun, within 2e-7. Otherwise Phi as 0.5 + u P(u^2), x
// clamped to +-4.5, P minimax in the result's absolute error: 5e-5, below half a step of the code that follows.
template <bool kExact>
static inline Vec gelu(Vec x) {
  if constexpr (kExact) {
    const Vec size = vmax(x, -x);
    const Vec t = 1.0f / (1.0f + 0.23164190f * size);  // 0.3275911 / sqrt(2)
    Vec p = splat(0.5307027145f);                      // the formula's coefficients, halved
    p = p * t - 0.7265760135f;
    p = p * t + 0.7107068705f;
    p = p * t - 0.1422483680f;
    p = p * t + 0.1274147960f;
    const Vec tail = p * t * exp2v<true>(x * x * -0.7213475204f);  // exp(-x^2 / 2)
    return vmax(x, splat(0.0f)) - size * tail;
  } else {
    const Vec u = clamp(x, 4.5f);
    const Vec t = u * u;
    Vec p = splat(3.000004412e-11f);
    p = p * t - 3.283916916e-09f;
    p = p * t + 1.580262392e-07f;
    p = p * t - 4.431704838e-06f;
    p = p * t + 8.121011342e-05f;
    p = p * t - 1.036257716e-03f;
    p = p * t + 9.580680169e-03f;
    p = p * t - 6.597734988e-02f;
    p = p * t + 3.987086415e-01f;
    return x * (p * u + 0.5f);
  }
}

// LN(word row + type row) of one token.
static inline void embed_row(const Model& model, int32_t id, float* out) {
  const Embedding& e = model.embedding;
  const int n = model.geometry.hidden;
  if (e.rows_i8) {
    const int8_t* row = e.rows_i8 + long(id) * n;
    const float scale = e.scale[id];
    for (int i = 0; i < n; ++i) out[i] = scale * row[i] + e.type_row[i];
  } else {
    const float* row = e.rows_f32 + long(id) * n;
    for (int i = 0; i < n; ++i) out[i] = row[i] + e.type_row[i];
  }
  for (int i = n; i < model.geometry.hidden_p; ++i) out[i] = 0;
  norm_row(out, e.norm, n, model.geometry.hidden_p, model.geometry.eps, out);
}

}  // namespace tinyrerank::TR_ISA
