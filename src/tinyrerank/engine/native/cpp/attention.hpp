// Attention of one sequence and one head: scores q.k + ALiBi in log2 units, softmax, weighted sum of values.
//
// Keys and values are packed once into panels; then tiles of 12 queries meet blocks of keys, so that buffers stay
// small at any length. Two bounds come from the data of the sequence itself, by Cauchy-Schwarz: |score - ALiBi| is at
// most B = max|q| max|k|.
// - If B is small, 2^score cannot overflow and the softmax needs neither a maximum nor rescaling.
// - A key at distance d weighs at most 2^(2B - slope d) of the query's own key: beyond 2^-25 it is left out.
#pragma once

#include "kernels.hpp"
#include "scratch.hpp"
#include "simd.hpp"
#if defined(__AVX512F__)
#include "tile_avx512.hpp"
#else
#include "tile_generic.hpp"
#endif

namespace tinyrerank::TR_ISA {

constexpr int kKeyBlock = 256;        // keys a pass
constexpr float kSafeBound = 60.0f;   // 2^60 * 8192 and 2^-60 * 2^-24 are ordinary floats
constexpr float kNegligible = 25.0f;  // a weight below 2^-25 of another does not reach a float sum

struct Fp32Attention {
  using E = float;
  static constexpr bool kExact = true;
  static constexpr int kStep = 1;  // elements of a row in a step of 4 bytes
  static E encode(float x) { return x; }
  static void store_row(E* p, Vec v) { store(p, v); }
  static Vec squares(VecI words) { return from_bits(words) * from_bits(words); }
  static void tile(const E* a, long lda, const void* b, long steps, float* c, long ldc) {
    tile_fp32(a, lda * 4, b, kPanelBytes, steps, c, ldc * 4);
  }
  static void pack_values(const E* row, const E*, uint32_t* out) { std::memcpy(out, row, kPanelBytes); }
};

#if defined(__AVX512F__)
struct Bf16Attention {
  using E = uint16_t;
  static constexpr bool kExact = false;
  static constexpr int kStep = 2;
  static void store_row(E* p, Vec v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), to_bf16(v)); }
  static Vec squares(VecI words) {
    const Vec even = from_bits(words << 16), odd = from_bits(words & -65536);
    return even * even + odd * odd;
  }
  static void tile(const E* a, long lda, const void* b, long steps, float* c, long ldc) {
    tile_bf16(a, lda * 2, b, kPanelBytes, steps, c, ldc * 4);
  }
  static void pack_values(const E* row, const E* next, uint32_t* out) {
    for (int i = 0; i < kPanel; ++i) out[i] = row[i] | uint32_t(next[i]) << 16;
  }
};
#endif

// out[column][row] = in[row][column] for 16 rows of 16 words.
static inline void transpose16(const uint32_t* const* in, int column, uint32_t* out, int out_stride) {
#if defined(__AVX512F__)
  __m512i a[16], b[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) a[i] = _mm512_loadu_si512(in[i] + column);
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    b[2 * i] = _mm512_unpacklo_epi32(a[2 * i], a[2 * i + 1]);
    b[2 * i + 1] = _mm512_unpackhi_epi32(a[2 * i], a[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    a[4 * i] = _mm512_unpacklo_epi64(b[4 * i], b[4 * i + 2]);
    a[4 * i + 1] = _mm512_unpackhi_epi64(b[4 * i], b[4 * i + 2]);
    a[4 * i + 2] = _mm512_unpacklo_epi64(b[4 * i + 1], b[4 * i + 3]);
    a[4 * i + 3] = _mm512_unpackhi_epi64(b[4 * i + 1], b[4 * i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {  // a[4 g + i] holds columns i, 4 + i, 8 + i, 12 + i of rows 4 g .. 4 g + 3
    const __m512i low = _mm512_shuffle_i32x4(a[i], a[4 + i], 0x88), high = _mm512_shuffle_i32x4(a[i], a[4 + i], 0xdd);
    const __m512i low2 = _mm512_shuffle_i32x4(a[8 + i], a[12 + i], 0x88);
    const __m512i high2 = _mm512_shuffle_i32x4(a[8 + i], a[12 + i], 0xdd);
    _mm512_storeu_si512(out + i * out_stride, _mm512_shuffle_i32x4(low, low2, 0x88));
    _mm512_storeu_si512(out + (8 + i) * out_stride, _mm512_shuffle_i32x4(low, low2, 0xdd));
    _mm512_storeu_si512(out + (4 + i) * out_stride, _mm512_shuffle_i32x4(high, high2, 0x88));
    _mm512_storeu_si512(out + (12 + i) * out_stride, _mm512_shuffle_i32x4(high, high2, 0xdd));
  }
#else
  for (int i = 0; i < 16; ++i)
    for (int row = 0; row < 16; ++row) out[i * out_stride + row] = in[row][column + i];
#endif
}

// Buffers of one head of one sequence, in a thread's scratch.
template <class Att>
struct HeadBuffers {
  using E = typename Att::E;
  uint32_t* keys;    // [block of 32 keys][step][32 keys]
  uint32_t* values;  // [panel of 32 dimensions][step of keys][32 dimensions]
  float* alibi;      // -slope |d| in log2 units at index `middle` + d
  E* queries;        // [12][head_p]
  float* scores;     // [12][kKeyBlock]
  E* weights;        // [12][kKeyBlock]
  float* part;       // [12][head_p]
  float* sums;       // [12][head_p]
  int middle;

  HeadBuffers(Scratch& scratch, int head_p, int longest) {
    const long n_p = (longest + kPanel - 1) / kPanel * kPanel;
    keys = scratch.take<uint32_t>(n_p * head_p / Att::kStep);
    values = scratch.take<uint32_t>(n_p * head_p / Att::kStep);
    middle = n_p + kPanel;
    alibi = scratch.take<float>(2L * middle + kPanel);
    queries = scratch.take<E>(kTileRows * head_p);
    scores = scratch.take<float>(kTileRows * kKeyBlock);
    weights = scratch.take<E>(kTileRows * kKeyBlock);
    part = scratch.take<float>(kTileRows * head_p);
    sums = scratch.take<float>(kTileRows * head_p);
  }
};

// Rows of Q, K or V of one sequence and head; `zeros` stands in beyond the end.
template <class E>
struct Rows {
  const E* base;
  long stride;
  const int32_t* row_of;
  int begin, n;
  const E* zeros;
  const E* operator[](int i) const {
    if (i >= n) return zeros;
    return base + (row_of ? row_of[begin + i] : begin + i) * stride;
  }
};

// Packs K and V; returns the largest |k|^2.
template <class Att>
static inline float pack_head(const Rows<typename Att::E>& k, const Rows<typename Att::E>& v, int head_p,
                              HeadBuffers<Att>& to) {
  const int n_p = (k.n + kPanel - 1) / kPanel * kPanel, words = head_p / Att::kStep;
  Vec largest = {};
  for (int key = 0; key < n_p; key += kPanel) {
    uint32_t* panel = to.keys + long(key) * words;
    const uint32_t* rows[kPanel];
    for (int i = 0; i < kPanel; ++i) rows[i] = reinterpret_cast<const uint32_t*>(k[key + i]);
    for (int word = 0; word < words; word += 16) {
      transpose16(rows, word, panel + word * kPanel, kPanel);
      transpose16(rows + 16, word, panel + word * kPanel + 16, kPanel);
    }
    for (int i = 0; i < kPanel; i += kLanes) {
      Vec square = {};
      for (int word = 0; word < words; ++word)
        square += Att::squares(load_i(reinterpret_cast<const int32_t*>(panel + word * kPanel + i)));
      largest = vmax(largest, square);
    }
  }
  for (int d = 0; d < head_p; d += kPanel) {
    uint32_t* out = to.values + long(d) / Att::kStep * n_p;
    for (int key = 0; key < n_p; key += Att::kStep, out += kPanel) Att::pack_values(v[key] + d, v[key + 1] + d, out);
  }
  return reduce_max(largest);
}

// Softmax numerators of one row of scores, without a maximum; returns their sum.
template <class Att>
static inline float weigh_safe(const float* scores, const float* alibi, int n, typename Att::E* weights) {
  Vec sum = {};
  for (int j = 0; j < n; j += kLanes) {
    const Vec w = exp2v<Att::kExact>(load(scores + j) + load(alibi + j));
    Att::store_row(weights + j, w);
    sum += w;
  }
  return reduce_add(sum);
}

// The same against a running maximum; returns the factor by which earlier sums shrink.
template <class Att>
static inline float weigh_online(const float* scores, const float* alibi, int n, typename Att::E* weights, float* top,
                                 float* total) {
  Vec best = splat(*top);
  for (int j = 0; j < n; j += kLanes) best = vmax(best, load(scores + j) + load(alibi + j));
  const float now = reduce_max(best);
  Vec sum = {};
  for (int j = 0; j < n; j += kLanes) {
    const Vec w = exp2v<Att::kExact>(load(scores + j) + load(alibi + j) - now);
    Att::store_row(weights + j, w);
    sum += w;
  }
  const float shrink = exp2v<true>(splat(*top - now))[0];
  *top = now;
  *total = *total * shrink + reduce_add(sum);
  return shrink;
}

// A tile of up to 12 queries against keys [low, high), both multiples of 32. Leaves the weighted sums in b.sums.
template <class Att>
static inline void attend_tile(const HeadBuffers<Att>& b, int head_p, int n, int first, int rows, int low, int high,
                               bool safe, float* total) {
  const int words = head_p / Att::kStep, n_p = (n + kPanel - 1) / kPanel * kPanel;
  float top[kTileRows];
  for (int r = 0; r < kTileRows; ++r) {
    top[r] = -3e38f;
    total[r] = 0;
  }
  for (int block = low; block < high; block += kKeyBlock) {
    const int keys = high - block < kKeyBlock ? high - block : kKeyBlock;
    for (int j = 0; j < keys; j += kPanel)
      Att::tile(b.queries, head_p, b.keys + long(block + j) * words, words, b.scores + j, kKeyBlock);
    for (int r = 0; r < rows; ++r) {
      float* scores = b.scores + r * kKeyBlock;
      for (int j = n - block; j < keys; ++j) scores[j] = -1e30f;
      const float* alibi = b.alibi + b.middle + block - (first + r);
      typename Att::E* weights = b.weights + r * kKeyBlock;
      if (safe) {
        total[r] += weigh_safe<Att>(scores, alibi, keys, weights);
      } else {
        const float shrink = weigh_online<Att>(scores, alibi, keys, weights, &top[r], &total[r]);
        if (block > low)
          for (int d = 0; d < head_p; d += kLanes) {
            float* sum = b.sums + r * head_p + d;
            store(sum, load(sum) * shrink);
          }
      }
    }
    float* out = block > low ? b.part : b.sums;
    for (int d = 0; d < head_p; d += kPanel) {
      const uint32_t* values = b.values + (long(d) * n_p + long(block) * kPanel) / Att::kStep;
      Att::tile(b.weights, kKeyBlock, values, keys / Att::kStep, out + d, head_p);
    }
    if (block > low)
      for (int i = 0; i < rows * head_p; i += kLanes) store(b.sums + i, load(b.sums + i) + load(b.part + i));
  }
}

template <class Att>
static void attend(const Model& model, const Group& group, int layer, int doc, int head, char* memory) {
  using E = typename Att::E;
  const Geometry& g = model.geometry;
  const int begin = group.starts[doc], n = group.starts[doc + 1] - begin, head_p = g.head_p;
  const int n_p = (n + kPanel - 1) / kPanel * kPanel;
  Scratch scratch(memory);
  const E* zeros = scratch.zeros<E>(head_p);
  HeadBuffers<Att> b(scratch, head_p, n);
  const E* qkv = static_cast<const E*>(group.qkv) + head * head_p;
  const int32_t* row_of = layer == 0 ? group.row_of : nullptr;
  const long stride = 3L * g.context;
  const Rows<E> q{qkv, stride, row_of, begin, n, zeros};
  const Rows<E> k{qkv + g.context, stride, row_of, begin, n, zeros};
  const Rows<E> v{qkv + 2 * g.context, stride, row_of, begin, n, zeros};

  const float largest_key = __builtin_sqrtf(pack_head<Att>(k, v, head_p, b));
  const float slope = model.slopes[head];
  for (int i = 0; i < 2 * b.middle + kPanel; i += kLanes) {
    const Vec d = to_float(iota() + (i - b.middle));
    store(b.alibi + i, vmax(d, -d) * -slope);
  }

  for (int first = 0; first < n; first += kTileRows) {
    const int rows = n - first < kTileRows ? n - first : kTileRows;
    float largest = 0;
    for (int r = 0; r < kTileRows; ++r) {
      const E* row = q[first + r];
      Vec square = {};
      for (int i = 0; i < head_p / Att::kStep; i += kLanes)
        square += Att::squares(load_i(reinterpret_cast<const int32_t*>(row) + i));
      std::memcpy(b.queries + r * head_p, row, head_p * sizeof(E));
      const float sum = reduce_add(square);
      largest = sum > largest ? sum : largest;
    }
    const float bound = __builtin_sqrtf(largest) * largest_key;
    const float reach = (2 * bound + kNegligible) / slope;
    int low = 0, high = n_p;
    if (reach < n) {
      const int far = static_cast<int>(reach) + 1;
      low = first - far > 0 ? (first - far) / kPanel * kPanel : 0;
      high = first + rows + far < n ? (first + rows + far + kPanel - 1) / kPanel * kPanel : n_p;
    }
    float total[kTileRows];
    attend_tile<Att>(b, head_p, n, first, rows, low, high, bound <= kSafeBound, total);
    for (int r = 0; r < rows; ++r) {
      float* out = group.context + long(begin + first + r) * g.context + head * head_p;
      const float inverse = 1.0f / total[r];
      for (int d = 0; d < head_p; d += kLanes) store(out + d, load(b.sums + r * head_p + d) * inverse);
    }
  }
}

}  // namespace tinyrerank::TR_ISA
