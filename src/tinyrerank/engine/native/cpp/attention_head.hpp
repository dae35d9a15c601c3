// One head of one sequence, laid out for its products: K and V in panels of 32 keys, and the ball around each panel's
// keys, from which attention.hpp bounds what a panel can weigh.
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

constexpr int kBlockPanels = 8;   // panels of keys a pass
constexpr int kSlots = 16;        // panels of weights kept: any kBlockPanels around the middle one
constexpr int kGroupPanels = 16;  // panels whose bounds are taken together
constexpr int kSampleStep = 2;    // of a panel's keys every second makes the centre: any point near gives a true bound
constexpr int kScoreRow = kPanel, kWeightRow = kSlots * kPanel + kPanel;  // apart from a power of two

static inline VecI splat_i(int32_t x) { return x - VecI{}; }
static inline const int32_t* words_of(const void* row) { return static_cast<const int32_t*>(row); }

struct Fp32Attention {
  using E = float;
  using Session = NoSession;
  static constexpr bool kExact = true;
  static constexpr int kStep = 1;  // elements of a row in a step of 4 bytes
  static constexpr float kNegligible = 26.0f;
  static Vec load_row(const E* p) { return load(p); }
  static void store_row(E* p, Vec v) { store(p, v); }
  static void store_weights(E* p, const Vec* w) {
    for (int v = 0; v < kVectors; ++v) store(p + v * kLanes, w[v]);
  }
  static Vec add_dot(Vec sum, VecI a, VecI b) { return sum + from_bits(a) * from_bits(b); }
  static void tile(const E* a, long lda, const void* b, long steps, float* c, long ldc, int rows) {
    tile_fp32(a, lda * 4, b, kPanelBytes, steps, c, ldc * 4, rows);
  }
  static void tile_add(const E* a, long lda, const void* b, long steps, float* c, long ldc, int rows) {
    tile_fp32_add(a, lda * 4, b, kPanelBytes, steps, c, ldc * 4, rows);
  }
  // A panel's rows of V, from dimension d on.
  static void pack_values(const E* const* rows, int d, uint32_t* out) {
    for (int i = 0; i < kPanel; ++i, out += kPanel) std::memcpy(out, rows[i] + d, kPanelBytes);
  }
};

#if defined(__AVX512F__)
struct Bf16Attention {
  using E = uint16_t;
  using Session = NoSession;
  static constexpr bool kExact = false;
  static constexpr int kStep = 2;
  static constexpr float kNegligible = 12.0f;
  static VecI widen(const E* p) {
    return VecI(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
  }
  static Vec load_row(const E* p) { return from_bits(widen(p) << 16); }
  static void store_row(E* p, Vec v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), to_bf16(v)); }
  // Rounded with plain integer instructions, in words of keys i and i + 16: VCVTNEPS2BF16 would be the bottleneck.
  static void store_weights(E* p, const Vec* w) {
    const VecI half = splat_i(0x8000);
    const __m512i low = _mm512_srli_epi32(__m512i(bits(w[0]) + half), 16), high = __m512i(bits(w[1]) + half);
    _mm512_storeu_si512(p, _mm512_ternarylogic_epi32(low, high, _mm512_set1_epi32(int(0xffff0000)), 0xf8));
  }
  static Vec add_dot(Vec sum, VecI a, VecI b) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
  }
  static void tile(const E* a, long lda, const void* b, long steps, float* c, long ldc, int rows) {
    tile_bf16(a, lda * 2, b, kPanelBytes, steps, c, ldc * 4, rows);
  }
  static void tile_add(const E* a, long lda, const void* b, long steps, float* c, long ldc, int rows) {
    tile_bf16_add(a, lda * 2, b, kPanelBytes, steps, c, ldc * 4, rows);
  }
  static void pack_values(const E* const* rows, int d, uint32_t* out) {
    for (int i = 0; i < kPanel / 2; ++i, out += kPanel)
      for (int j = 0; j < kPanel; j += kLanes) {
        const VecI low = widen(rows[i] + d + j), high = widen(rows[i + kPanel / 2] + d + j);
        _mm512_storeu_si512(out + j, __m512i(low | high << 16));
      }
  }
};

// Beside activations of 8 bits, which err by 2^-9 of their row's range, weights of 2^-8 may go too: it spares scores.
struct CoarseAttention : Bf16Attention {
  static constexpr float kNegligible = 8.0f;
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
  uint32_t* keys;     // [panel of 32 keys][step][32 keys]
  uint32_t* values;   // [32 dimensions][panel][step of keys][32 dimensions]
  float* alibi;       // -slope |d| in log2 units at index `middle` + d
  uint32_t* centres;  // [group of 16 panels][step][16 panels]
  E* centre_rows;     // [16][head_p], those of one group before they are transposed
  float* radius;      // [panel] max|k - centre|; far below zero beyond the end
  float* most;        // [panel] bound of a panel's weights
  E* queries;         // [12][head_p]
  float* scores;      // [kBlockPanels][12][32]
  E* weights;         // [12][kWeightRow]
  float* sums;        // [12][head_p]
  E* mean;            // [head_p] of the centres
  int middle;

  HeadBuffers(Scratch& scratch, int head_p, int longest) {
    const int panels = (longest + kPanel - 1) / kPanel;
    const long n_p = long(panels) * kPanel, padded = (panels + kGroupPanels - 1) / kGroupPanels * kGroupPanels;
    keys = scratch.take<uint32_t>(n_p * head_p / Att::kStep);
    values = scratch.take<uint32_t>(n_p * head_p / Att::kStep);
    middle = n_p + kPanel;
    alibi = scratch.take<float>(2L * middle + kPanel);
    centres = scratch.take<uint32_t>(padded * head_p / Att::kStep);
    centre_rows = scratch.take<E>(kGroupPanels * head_p);
    radius = scratch.take<float>(padded);
    most = scratch.take<float>(padded);
    queries = scratch.take<E>(kTileRows * head_p);
    scores = scratch.take<float>(kBlockPanels * kTileRows * kScoreRow);
    weights = scratch.take<E>(kTileRows * kWeightRow);
    sums = scratch.take<float>(kTileRows * head_p);
    mean = scratch.take<E>(head_p);
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

template <class Att>
static inline float dot(const typename Att::E* a, const typename Att::E* b, int words) {
  Vec sum = {};
  for (int i = 0; i < words; i += kLanes) sum = Att::add_dot(sum, load_i(words_of(a) + i), load_i(words_of(b) + i));
  return reduce_add(sum);
}

struct KeyBounds {
  float largest;  // max|k|
  float radius;   // max|k - mean|, or a little more
};

// The centre of one panel's keys, rounded.
template <class Att>
static inline void centre_of(const typename Att::E* const* rows, int keys, int head_p, typename Att::E* out) {
  const float share = 1.0f / ((keys + kSampleStep - 1) / kSampleStep);
  for (int d = 0; d < head_p; d += kLanes) {
    Vec sum = {};
    for (int i = 0; i < keys; i += kSampleStep) sum += Att::load_row(rows[i] + d);
    Att::store_row(out + d, sum * share);
  }
}

// Packs one panel of K; returns the largest |k|^2 and sets the radius around `centre`.
template <class Att>
static inline float pack_keys(const typename Att::E* const* keys, const typename Att::E* centre, int words,
                              uint32_t* panel, float* radius) {
  const uint32_t* rows[kPanel];
  for (int i = 0; i < kPanel; ++i) rows[i] = reinterpret_cast<const uint32_t*>(keys[i]);
  for (int word = 0; word < words; word += 16) {
    transpose16(rows, word, panel + word * kPanel, kPanel);
    transpose16(rows + 16, word, panel + word * kPanel + 16, kPanel);
  }
  const float centre_square = dot<Att>(centre, centre, words);
  Vec largest = {}, farthest = {};
  for (int i = 0; i < kPanel; i += kLanes) {
    Vec square = {}, cross = {};
    for (int word = 0; word < words; ++word) {
      const VecI pair = load_i(words_of(panel + word * kPanel + i));
      square = Att::add_dot(square, pair, pair);
      cross = Att::add_dot(cross, pair, splat_i(words_of(centre)[word]));
    }
    largest = vmax(largest, square);
    farthest = vmax(farthest, square - 2.0f * cross + centre_square);
  }
  const float square = reduce_max(largest);
  *radius = __builtin_sqrtf(reduce_max(farthest) + 1e-5f * square);  // rounding in the difference of squares
  return square;
}

// max|k - mean| from the centres and radii; sets b.mean.
template <class Att>
static inline float radius_of_all(const HeadBuffers<Att>& b, int panels, int head_p, float largest_square) {
  const int words = head_p / Att::kStep;
  const typename Att::E* rows[kGroupPanels];
  for (int i = 0; i < kGroupPanels; ++i) rows[i] = b.centre_rows + i * head_p;  // of the last group: near enough
  centre_of<Att>(rows, kGroupPanels, head_p, b.mean);
  const float square = dot<Att>(b.mean, b.mean, words);
  float farthest = 0;
  for (int panel = 0; panel < panels; panel += kLanes) {
    const uint32_t* group = b.centres + long(panel / kGroupPanels * words) * kGroupPanels + panel % kGroupPanels;
    Vec own = {}, cross = {};
    for (int word = 0; word < words; ++word) {
      const VecI pair = load_i(words_of(group + word * kGroupPanels));
      own = Att::add_dot(own, pair, pair);
      cross = Att::add_dot(cross, pair, splat_i(words_of(b.mean)[word]));
    }
    const Vec distance = vmax(own - 2.0f * cross + square, splat(0.0f)) + 2e-5f * largest_square;
    for (int i = 0; i < kLanes; ++i) {
      const float here = __builtin_sqrtf(distance[i]) + b.radius[panel + i];
      farthest = here > farthest || here != here ? here : farthest;
    }
  }
  return farthest;
}

// Packs K and V. Keys beyond the end become their panel's first, which moves no bound.
template <class Att>
static inline KeyBounds pack_head(const Rows<typename Att::E>& k, const Rows<typename Att::E>& v, int head_p,
                                  HeadBuffers<Att>& to) {
  using E = typename Att::E;
  const int panels = (k.n + kPanel - 1) / kPanel, words = head_p / Att::kStep;
  const int padded = (panels + kGroupPanels - 1) / kGroupPanels * kGroupPanels;
  float square = 0;
  for (int panel = 0; panel < padded; ++panel) {
    E* centre = to.centre_rows + panel % kGroupPanels * head_p;
    if (panel < panels) {
      const int first = panel * kPanel, here = k.n - first < kPanel ? k.n - first : kPanel;
      const E *keys[kPanel], *values[kPanel];
      for (int i = 0; i < kPanel; ++i) {
        keys[i] = i < here ? k[first + i] : keys[0];
        values[i] = v[first + i];
      }
      centre_of<Att>(keys, here, head_p, centre);
      const float largest = pack_keys<Att>(keys, centre, words, to.keys + long(first) * words, to.radius + panel);
      square = largest > square ? largest : square;
      for (int d = 0; d < head_p; d += kPanel)
        Att::pack_values(values, d, to.values + (long(d) * panels + panel * kPanel) * kPanel / Att::kStep);
    } else {  // as the group's first, which every group has
      std::memcpy(centre, to.centre_rows, head_p * sizeof(E));
      to.radius[panel] = -1e30f;
    }
    if (panel % kGroupPanels == kGroupPanels - 1) {
      const uint32_t* rows[kGroupPanels];
      for (int i = 0; i < kGroupPanels; ++i) rows[i] = reinterpret_cast<const uint32_t*>(to.centre_rows + i * head_p);
      for (int word = 0; word < words; word += 16)
        transpose16(rows, word, to.centres + long((panel / kGroupPanels) * words + word) * kGroupPanels, kGroupPanels);
    }
  }
  const float radius = panels > kGroupPanels ? radius_of_all(to, panels, head_p, square) : 0.0f;
  return {__builtin_sqrtf(square), radius};
}

}  // namespace tinyrerank::TR_ISA
