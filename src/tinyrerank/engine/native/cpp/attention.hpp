// Attention of one sequence and one head: scores q.k + ALiBi in log2 units, softmax, weighted sum of values.
//
// Keys and values are packed once into panels; then tiles of 12 queries meet blocks of keys, so that buffers stay
// small at any length. Bounds by Cauchy-Schwarz come from the data of the sequence itself:
// - If max|q| max|k| is small, 2^score cannot overflow and the softmax needs neither a maximum nor rescaling.
// - With m the mean key and R = max|k - m|, a score lies within |q| R of q.m - slope d. So all keys beyond a distance
//   D weigh together at most 2^(q.m + |q| R - slope D) / (1 - 2^-slope). They are left out where that is below
//   2^-kNegligible of what the nearer keys are known to weigh: at first the query's own key, at least
//   2^(q.m - |q| R), then the sum over the block around the query.
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
constexpr int kSampledKeys = 32;      // keys that the mean is taken from: any vector near it gives a true bound
constexpr float kSafeBound = 60.0f;   // 2^60 * 8192 and 2^-60 * 2^-24 are ordinary floats

struct Fp32Attention {
  using E = float;
  static constexpr bool kExact = true;
  static constexpr int kStep = 1;  // elements of a row in a step of 4 bytes
  static constexpr float kNegligible = 26.0f;
  static float decode(E x) { return x; }
  static void store_row(E* p, Vec v) { store(p, v); }
  static Vec add_dot(Vec sum, VecI a, VecI b) { return sum + from_bits(a) * from_bits(b); }
  static void tile(const E* a, long lda, const void* b, long steps, float* c, long ldc, int rows) {
    tile_fp32(a, lda * 4, b, kPanelBytes, steps, c, ldc * 4, rows);
  }
  static void pack_values(const E* row, const E*, uint32_t* out) { std::memcpy(out, row, kPanelBytes); }
};

#if defined(__AVX512F__)
struct Bf16Attention {
  using E = uint16_t;
  static constexpr bool kExact = false;
  static constexpr int kStep = 2;
  static void store_row(E* p, Vec v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), to_bf16(v)); }
  static constexpr float kNegligible = 16.0f;
  static float decode(E x) {
    const uint32_t bits = uint32_t(x) << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
  }
  static Vec add_dot(Vec sum, VecI a, VecI b) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
  }
  static void tile(const E* a, long lda, const void* b, long steps, float* c, long ldc, int rows) {
    tile_bf16(a, lda * 2, b, kPanelBytes, steps, c, ldc * 4, rows);
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
  float* mean;       // [head_p] of the keys
  E* mean_row;       // the same, rounded
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
    mean = scratch.take<float>(head_p);
    mean_row = scratch.take<E>(head_p);
  }
};

// Rows of Q, K or V of one sequence and head; `filler` stands in beyond the end.
template <class E>
struct Rows {
  const E* plane;
  int head_p;
  const int32_t* row_of;
  int begin, n;
  const E* filler;
  const E* operator[](int i) const {
    if (i >= n) return filler;
    return plane + long(row_of ? row_of[begin + i] : begin + i) * head_p;
  }
};

static inline const int32_t* words_of(const void* row) { return static_cast<const int32_t*>(row); }
static inline VecI splat_i(int32_t x) { return x - VecI{}; }

template <class Att>
static inline float dot(const typename Att::E* a, const typename Att::E* b, int words) {
  Vec sum = {};
  for (int i = 0; i < words; i += kLanes) sum = Att::add_dot(sum, load_i(words_of(a) + i), load_i(words_of(b) + i));
  return reduce_add(sum);
}

struct KeyBounds {
  float largest;  // max|k|
  float radius;   // max|k - mean|
};

// Packs K and V. Keys beyond the end become the mean key, which moves no bound.
template <class Att>
static inline KeyBounds pack_head(Rows<typename Att::E> k, const Rows<typename Att::E>& v, int head_p,
                                  HeadBuffers<Att>& to) {
  const int n_p = (k.n + kPanel - 1) / kPanel * kPanel, words = head_p / Att::kStep;
  const int apart = k.n / kSampledKeys + 1, sampled = (k.n + apart - 1) / apart;
  for (int d = 0; d < head_p; ++d) to.mean[d] = 0;
  for (int key = 0; key < k.n; key += apart)
    for (int d = 0; d < head_p; ++d) to.mean[d] += Att::decode(k[key][d]);
  for (int d = 0; d < head_p; d += kLanes) Att::store_row(to.mean_row + d, load(to.mean + d) * (1.0f / sampled));
  k.filler = to.mean_row;
  const int32_t* mean = words_of(to.mean_row);
  const float mean_square = dot<Att>(to.mean_row, to.mean_row, words);

  Vec largest = {}, radius = {};
  for (int key = 0; key < n_p; key += kPanel) {
    uint32_t* panel = to.keys + long(key) * words;
    const uint32_t* rows[kPanel];
    for (int i = 0; i < kPanel; ++i) rows[i] = reinterpret_cast<const uint32_t*>(k[key + i]);
    for (int word = 0; word < words; word += 16) {
      transpose16(rows, word, panel + word * kPanel, kPanel);
      transpose16(rows + 16, word, panel + word * kPanel + 16, kPanel);
    }
    for (int i = 0; i < kPanel; i += kLanes) {
      Vec square = {}, cross = {};
      for (int word = 0; word < words; ++word) {
        const VecI pair = load_i(words_of(panel + word * kPanel + i));
        square = Att::add_dot(square, pair, pair);
        cross = Att::add_dot(cross, pair, splat_i(mean[word]));
      }
      largest = vmax(largest, square);
      radius = vmax(radius, square - 2.0f * cross + mean_square);
    }
  }
  for (int d = 0; d < head_p; d += kPanel) {
    uint32_t* out = to.values + long(d) / Att::kStep * n_p;
    for (int key = 0; key < n_p; key += Att::kStep, out += kPanel) Att::pack_values(v[key] + d, v[key + 1] + d, out);
  }
  const float square = reduce_max(largest);
  const float slack = 1e-5f * square;  // rounding in the difference of squares
  return {__builtin_sqrtf(square), __builtin_sqrtf(reduce_max(radius) + slack)};
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

// A tile of up to 12 queries on its way over the keys.
template <class Att>
struct Tile {
  using E = typename Att::E;
  const HeadBuffers<Att>& b;
  const E* queries;
  int head_p, n, first, rows;
  bool safe;             // whether weights are taken without a maximum
  bool fresh = true;     // no keys met yet
  float top[kTileRows];  // running maxima of the scores, 0 if safe
  float total[kTileRows];

  // Adds keys [begin, end), multiples of 32 and at most kKeyBlock apart, to total and b.sums.
  void meet(int begin, int end) {
    const int words = head_p / Att::kStep, n_p = (n + kPanel - 1) / kPanel * kPanel, keys = end - begin;
    for (int j = 0; j < keys; j += kPanel)
      Att::tile(queries, head_p, b.keys + long(begin + j) * words, words, b.scores + j, kKeyBlock, rows);
    for (int r = 0; r < rows; ++r) {
      if (fresh) {
        top[r] = safe ? 0.0f : -3e38f;
        total[r] = 0;
      }
      float* scores = b.scores + r * kKeyBlock;
      for (int j = n - begin; j < keys; ++j) scores[j] = -1e30f;
      const float* alibi = b.alibi + b.middle + begin - (first + r);
      E* weights = b.weights + r * kKeyBlock;
      if (safe) {
        total[r] += weigh_safe<Att>(scores, alibi, keys, weights);
        continue;
      }
      const float shrink = weigh_online<Att>(scores, alibi, keys, weights, &top[r], &total[r]);
      float* sums = b.sums + r * head_p;
      if (!fresh)
        for (int d = 0; d < head_p; d += kLanes) store(sums + d, load(sums + d) * shrink);
    }
    float* out = fresh ? b.sums : b.part;
    for (int d = 0; d < head_p; d += kPanel) {
      const uint32_t* values = b.values + (long(d) * n_p + long(begin) * kPanel) / Att::kStep;
      Att::tile(b.weights, kKeyBlock, values, keys / Att::kStep, out + d, head_p, rows);
    }
    if (!fresh)
      for (int i = 0; i < rows * head_p; i += kLanes) store(b.sums + i, load(b.sums + i) + load(b.part + i));
    fresh = false;
  }

  // The distance beyond which the keys' weights are negligible against the totals so far. May be infinite.
  float reach(float radius, float slope, float tail) const {
    float farthest = 0;
    for (int r = 0; r < rows; ++r) {
      const E* row = queries + r * head_p;
      const int words = head_p / Att::kStep;
      const float size = __builtin_sqrtf(dot<Att>(row, row, words));
      const float most = dot<Att>(row, b.mean_row, words) + size * radius;
      const float far = (most - top[r] - __builtin_log2f(total[r]) + tail) / slope;
      farthest = far > farthest || far != far ? far : farthest;
    }
    return farthest;
  }
};

// Keys within `reach` of rows [first, first + rows), in whole panels; all keys if it is not a number.
struct Span {
  int low, high;
  Span(float reach, int first, int rows, int n) : low(0), high((n + kPanel - 1) / kPanel * kPanel) {
    if (!(reach < n)) return;
    const int far = static_cast<int>(reach) + 1;
    if (first > far) low = (first - far) / kPanel * kPanel;
    if (first + rows + far < n) high = (first + rows + far + kPanel - 1) / kPanel * kPanel;
  }
};

template <class Att>
static void attend(const Model& model, const Group& group, int layer, int doc, int head, char* memory) {
  using E = typename Att::E;
  const Geometry& g = model.geometry;
  const int begin = group.starts[doc], n = group.starts[doc + 1] - begin, head_p = g.head_p;
  Scratch scratch(memory);
  const E* zeros = scratch.zeros<E>(head_p);
  HeadBuffers<Att> b(scratch, head_p, n);
  const int32_t* row_of = layer == 0 ? group.row_of : nullptr;
  const auto rows_of = [&](int part) {
    const E* plane = static_cast<const E*>(group.qkv) + (part * g.heads + head) * group.qkv_rows * head_p;
    return Rows<E>{plane, head_p, row_of, begin, n, zeros};
  };
  const Rows<E> q = rows_of(0);
  const KeyBounds keys = pack_head<Att>(rows_of(1), rows_of(2), head_p, b);

  const float slope = model.slopes[head];
  const float tail = Att::kNegligible - __builtin_log2f(1.0f - __builtin_exp2f(-slope));
  for (int i = 0; i < 2 * b.middle + kPanel; i += kLanes) {
    const Vec d = to_float(iota() + (i - b.middle));
    store(b.alibi + i, vmax(d, -d) * -slope);
  }

  for (int first = 0; first < n; first += kTileRows) {
    const int rows = n - first < kTileRows ? n - first : kTileRows;
    // Whole tiles of consecutive rows are used where they lie.
    const bool in_place = !row_of && rows == kTileRows;
    const E* queries = in_place ? q[first] : b.queries;
    float square = 0;
    for (int r = 0; r < kTileRows; ++r) {
      const E* row = q[first + r];
      if (!in_place) std::memcpy(b.queries + r * head_p, row, head_p * sizeof(E));
      const float here = dot<Att>(row, row, head_p / Att::kStep);
      square = here > square ? here : square;
    }
    const float size = __builtin_sqrtf(square);
    Tile<Att> tile{b, queries, head_p, n, first, rows, size * keys.largest <= kSafeBound, true, {}, {}};
    Span span((2 * size * keys.radius + tail) / slope, first, rows, n);
    if (span.high - span.low <= kKeyBlock) {
      tile.meet(span.low, span.high);
    } else {
      int left = (first + kTileRows / 2) / kPanel * kPanel - kKeyBlock / 2;
      left = left < span.low ? span.low : left > span.high - kKeyBlock ? span.high - kKeyBlock : left;
      int right = left + kKeyBlock;
      tile.meet(left, right);
      const Span rest(tile.reach(keys.radius, slope, tail), first, rows, n);
      const int low = rest.low > span.low ? rest.low : span.low, high = rest.high < span.high ? rest.high : span.high;
      for (; right < high; right += kKeyBlock) tile.meet(right, high - right < kKeyBlock ? high : right + kKeyBlock);
      for (; left > low; left -= kKeyBlock) tile.meet(left - low < kKeyBlock ? low : left - kKeyBlock, left);
    }
    for (int r = 0; r < rows; ++r) {
      float* out = group.context + long(begin + first + r) * g.context + head * head_p;
      const float inverse = 1.0f / tile.total[r];
      for (int d = 0; d < head_p; d += kLanes) store(out + d, load(b.sums + r * head_p + d) * inverse);
    }
  }
}

}  // namespace tinyrerank::TR_ISA
