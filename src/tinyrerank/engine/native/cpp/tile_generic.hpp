// The register tile without AVX-512: C[rows][32] = A[rows][k] * panel, in vectors that the compiler keeps in registers.
//
// Without a dot product of bytes (SDOT), int8 weights are widened to int16 when packed, and activations (0..255)
// travel as int16, so that AVX2 can use VPMADDWD: exact, where VPMADDUBSW would saturate.
#pragma once

#include "simd.hpp"

namespace tinyrerank::TR_ISA {

#if defined(__AVX2__)
constexpr int kSubRows = 6, kSubVectors = 2;  // 12 sums, 2 weights and 1 broadcast in 16 registers
#elif defined(__aarch64__)
constexpr int kSubRows = 6, kSubVectors = 4;  // 24 sums, 4 weights and 1 broadcast in 32 registers
#else
constexpr int kSubRows = 4, kSubVectors = 2;
#endif

struct Fp32Step {
  using Sum = Vec;
  static Sum add(Sum sum, const char* a, const char* b) {
    float x;
    std::memcpy(&x, a, 4);
    return sum + x * load(reinterpret_cast<const float*>(b));
  }
};

#if defined(__ARM_FEATURE_DOTPROD)
struct Int8Step {
  using Sum = VecI;
  static Sum add(Sum sum, const char* a, const char* b) {
    int32_t four;
    std::memcpy(&four, a, 4);
    const int8x16_t w = vld1q_s8(reinterpret_cast<const int8_t*>(b));
    return Sum(vdotq_s32(int32x4_t(sum), vreinterpretq_s8_s32(vdupq_n_s32(four)), w));
  }
};
#else
struct Int8Step {  // in 16 bits
  using Sum = VecI;
  static Sum add(Sum sum, const char* a, const char* b) {
#if defined(__AVX2__)
    int32_t pair;
    std::memcpy(&pair, a, 4);
    const __m256i w = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b));
    return sum + VecI(_mm256_madd_epi16(_mm256_set1_epi32(pair), w));
#else
    int16_t pair[2];
    std::memcpy(pair, a, 4);
    const VecI w = load_i(reinterpret_cast<const int32_t*>(b));
    return sum + pair[0] * ((w << 16) >> 16) + pair[1] * (w >> 16);
#endif
  }
};
#endif

// Every loop over the sums is unrolled: an array that is indexed by a variable anywhere lives in memory, and each step
// would store all of it.
template <class Step, bool kAdd = false>
static inline void tile_generic(const void* a, long lda, const void* b, long ldb, long steps, void* c, long ldc,
                                int rows) {
  using Sum = typename Step::Sum;
  for (int row = 0; row < rows; row += kSubRows) {
    for (int column = 0; column < kVectors; column += kSubVectors) {
      const char* pa = static_cast<const char*>(a) + row * lda;
      const char* pb = static_cast<const char*>(b) + column * sizeof(Sum);
      char* pc = static_cast<char*>(c) + row * ldc + column * sizeof(Sum);
      Sum sum[kSubRows][kSubVectors];
#pragma GCC unroll 8
      for (int r = 0; r < kSubRows; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < kSubVectors; ++v) {
          if constexpr (kAdd) {
            std::memcpy(&sum[r][v], pc + r * ldc + v * sizeof(Sum), sizeof(Sum));
          } else {
            sum[r][v] = Sum{};
          }
        }
      const char* pa2 = pa + kSubRows / 2 * lda;  // from here and pa all rows are 0, 1 or 2 times lda away: one register
      for (long s = 0; s < steps; ++s, pa += 4, pa2 += 4, pb += ldb) {
#pragma GCC unroll 8
        for (int r = 0; r < kSubRows; ++r) {
          const char* from = r < kSubRows / 2 ? pa + r * lda : pa2 + (r - kSubRows / 2) * lda;
#pragma GCC unroll 8
          for (int v = 0; v < kSubVectors; ++v) sum[r][v] = Step::add(sum[r][v], from, pb + v * sizeof(Sum));
        }
      }
#pragma GCC unroll 8
      for (int r = 0; r < kSubRows; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < kSubVectors; ++v) std::memcpy(pc + r * ldc + v * sizeof(Sum), &sum[r][v], sizeof(Sum));
    }
  }
}

static inline void tile_int8(const void* a, long lda, const void* b, long ldb, long steps, void* c, long ldc,
                             int rows) {
  tile_generic<Int8Step>(a, lda, b, ldb, steps, c, ldc, rows);
}
static inline void tile_fp32(const void* a, long lda, const void* b, long ldb, long steps, void* c, long ldc,
                             int rows) {
  tile_generic<Fp32Step>(a, lda, b, ldb, steps, c, ldc, rows);
}
static inline void tile_fp32_add(const void* a, long lda, const void* b, long ldb, long steps, void* c, long ldc,
                                 int rows) {
  tile_generic<Fp32Step, true>(a, lda, b, ldb, steps, c, ldc, rows);
}

}  // namespace tinyrerank::TR_ISA
