// A thin layer over the compiler's vector type: TR_LANES floats, the same source for every instruction set.
//
// Included inside namespace tinyrerank::TR_ISA by the kernels of one instruction set; see isa_*.cpp.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace tinyrerank::TR_ISA {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
constexpr int kVectors = 32 / kLanes;  // vectors in a row of a tile

// Alive while products are computed. Vectors need nothing; other instructions set their registers up in it.
struct NoSession {
  ~NoSession() {}  // not trivial, so that a session nobody reads is no unused variable
};

typedef float Vec __attribute__((vector_size(kLanes * 4)));
typedef int32_t VecI __attribute__((vector_size(kLanes * 4)));
typedef float VecU __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));
typedef int32_t VecIU __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));

static inline Vec load(const float* p) { return *reinterpret_cast<const VecU*>(p); }
static inline VecI load_i(const int32_t* p) { return *reinterpret_cast<const VecIU*>(p); }
static inline void store(float* p, Vec v) { *reinterpret_cast<VecU*>(p) = v; }
static inline Vec splat(float x) { return x - Vec{}; }
static inline Vec to_float(VecI v) { return __builtin_convertvector(v, Vec); }
static inline VecI bits(Vec v) { return reinterpret_cast<VecI>(v); }
static inline Vec from_bits(VecI v) { return reinterpret_cast<Vec>(v); }
static inline VecI iota() {
  VecI v;
  for (int i = 0; i < kLanes; ++i) v[i] = i;
  return v;
}

static inline Vec vmax(Vec a, Vec b) {
#if defined(__AVX512F__)
  return Vec(_mm512_max_ps(__m512(a), __m512(b)));
#elif defined(__AVX2__)
  return Vec(_mm256_max_ps(__m256(a), __m256(b)));
#elif defined(__aarch64__)
  return Vec(vmaxq_f32(float32x4_t(a), float32x4_t(b)));
#else
  return a > b ? a : b;
#endif
}

static inline Vec vmin(Vec a, Vec b) {
#if defined(__AVX512F__)
  return Vec(_mm512_min_ps(__m512(a), __m512(b)));
#elif defined(__AVX2__)
  return Vec(_mm256_min_ps(__m256(a), __m256(b)));
#elif defined(__aarch64__)
  return Vec(vminq_f32(float32x4_t(a), float32x4_t(b)));
#else
  return a < b ? a : b;
#endif
}

// v within -limit .. limit, limit > 0.
static inline Vec clamp(Vec v, float limit) {
#if defined(__AVX512F__)
  return Vec(_mm512_range_ps(__m512(v), __m512(splat(limit)), 0x02));  // the smaller magnitude, the sign of v
#else
  return vmax(vmin(v, splat(limit)), splat(-limit));
#endif
}

// To the nearest integer, ties to even; |v| < 2^22.
static inline VecI round_to_int(Vec v) {
#if defined(__AVX512F__)
  return VecI(_mm512_cvtps_epi32(__m512(v)));
#elif defined(__AVX2__)
  return VecI(_mm256_cvtps_epi32(__m256(v)));
#elif defined(__aarch64__)
  return VecI(vcvtnq_s32_f32(float32x4_t(v)));
#else
  const Vec magic = splat(12582912.0f);  // 1.5 * 2^23: adding it leaves the integer in the low mantissa bits
  return bits(v + magic) - bits(magic);
#endif
}

static inline float reduce_add(Vec v) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps(__m512(v));
#else
  float lane[kLanes];
  store(lane, v);
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lane[i] += lane[i + width];
  return lane[0];
#endif
}

static inline float reduce_max(Vec v) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps(__m512(v));
#else
  float best = v[0];
  for (int i = 1; i < kLanes; ++i) best = v[i] > best ? v[i] : best;
  return best;
#endif
}

static inline float reduce_min(Vec v) { return -reduce_max(-v); }

// 2^v for v < 128; 2^-126 for all below, unless kTiny is false, which promises that nothing is below. kExact: relative
// error 1e-7, otherwise 1e-4 (bf16 follows). Written with additions and integer shifts, since the products' pipes are
// the busy ones.
template <bool kExact, bool kTiny = true>
static inline Vec exp2v(Vec v) {
  const float magic = 12582912.0f;  // 1.5 * 2^23
  if constexpr (kTiny) v = vmax(v, splat(-126.0f));
  const Vec shifted = v + magic;  // the nearest integer, in the low bits
  const Vec f = v - (shifted - magic);
  Vec p;
  if constexpr (kExact) {
    p = splat(1.534239825e-04f);
    p = p * f + 1.339989323e-03f;
    p = p * f + 9.618502721e-03f;
    p = p * f + 5.550328873e-02f;
    p = p * f + 2.402264675e-01f;
    p = p * f + 6.931472057e-01f;
    p = p * f + 1.0f;
  } else {
    p = splat(5.517167412e-02f);
    p = p * f + 2.426111251e-01f;
    p = p * f + 6.932609844e-01f;
    p = p * f + 9.999280731e-01f;
  }
  return from_bits(bits(p) + (bits(shifted) << 23));
}

#if defined(__AVX512F__)
// Rounds to bf16, nearest even. Needs AVX512_BF16, which the compiler flags of this file do not promise.
static inline __m256i to_bf16(Vec v) {
  __m256i out;
  asm("vcvtneps2bf16 %1, %0" : "=v"(out) : "v"(__m512(v)));
  return out;
}
#endif

}  // namespace tinyrerank::TR_ISA
