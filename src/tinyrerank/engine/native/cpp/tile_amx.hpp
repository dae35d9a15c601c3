// The register tile for AMX: C[rows][32] = A[rows][k] * panel, 16 rows x 64 bytes of A and 16 steps of a panel at once.
//
// A panel's step, 32 columns of 4 bytes, is how a tile of weights wants its rows, so both kinds of kernel share the
// packed weights. Two tiles of A by two of weights fill the eight tile registers. int8 sums are exact integers, the
// very ones of AVX-512. In assembly, so that no compiler flag is needed and memory is known to be read and written.
#pragma once

#include <cstdint>

namespace tinyrerank::TR_ISA {

constexpr int kAmxRows = 32;
constexpr int kAmxDepth = 64;  // bytes of a row of A that one instruction takes

// Sets the tile registers up for this thread, for as long as it lives: 64 bytes a row, sums and A (0 to 5) of
// kRows rows, weights (6 and 7) of 16.
template <uint8_t kRows>
class AmxSession {
 public:
  AmxSession() {
    struct alignas(64) Config {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {kRows, kRows, kRows, kRows, kRows, kRows, 16, 16};
    };
    static constexpr Config config;
    asm volatile("ldtilecfg %0" : : "m"(config));
  }
  ~AmxSession() { asm volatile("tilerelease"); }  // nothing is left to be saved when the thread is switched
  AmxSession(const AmxSession&) = delete;
  AmxSession& operator=(const AmxSession&) = delete;
};

// k is in bytes, a multiple of kAmxDepth. Reads whole tiles of A and writes whole tiles of C: 16 or 32 rows.
#define TR_AMX_TILE(NAME, DP)                                                                             \
  static inline void NAME(const char* a, long lda, const char* b, long k, char* c, int rows) {            \
    constexpr long ldb = kPanelBytes, kBytes = kAmxDepth / 4 * kPanelBytes;                               \
    long steps = k / kAmxDepth;                                                                           \
    if (rows > 16) {                                                                                      \
      const char* a2 = a + 16 * lda;                                                                      \
      asm volatile(                                                                                       \
          "tilezero %%tmm0\n\t tilezero %%tmm1\n\t tilezero %%tmm2\n\t tilezero %%tmm3\n\t"               \
          ".p2align 5\n\t"                                                                                \
          "1:\n\t"                                                                                        \
          "tileloadd (%[a],%[lda],1), %%tmm4\n\t"                                                         \
          "tileloadd (%[b],%[ldb],1), %%tmm6\n\t"                                                         \
          "tileloadd 64(%[b],%[ldb],1), %%tmm7\n\t" DP " %%tmm6, %%tmm4, %%tmm0\n\t"                      \
          "tileloadd (%[a2],%[lda],1), %%tmm5\n\t" DP " %%tmm7, %%tmm4, %%tmm1\n\t"                       \
          DP " %%tmm6, %%tmm5, %%tmm2\n\t" DP " %%tmm7, %%tmm5, %%tmm3\n\t"                               \
          "add %[depth], %[a]\n\t add %[depth], %[a2]\n\t add %[bytes], %[b]\n\t"                         \
          "dec %[steps]\n\t"                                                                              \
          "jnz 1b\n\t"                                                                                    \
          "tilestored %%tmm0, (%[c],%[ldb],1)\n\t tilestored %%tmm1, 64(%[c],%[ldb],1)\n\t"               \
          "tilestored %%tmm2, 2048(%[c],%[ldb],1)\n\t tilestored %%tmm3, 2112(%[c],%[ldb],1)\n\t"         \
          : [a] "+r"(a), [a2] "+r"(a2), [b] "+r"(b), [steps] "+r"(steps)                                  \
          : [lda] "r"(lda), [ldb] "r"(ldb), [c] "r"(c), [depth] "i"(kAmxDepth), [bytes] "i"(kBytes)       \
          : "cc", "memory");                                                                              \
    } else {                                                                                              \
      asm volatile(                                                                                       \
          "tilezero %%tmm0\n\t tilezero %%tmm1\n\t"                                                       \
          ".p2align 5\n\t"                                                                                \
          "1:\n\t"                                                                                        \
          "tileloadd (%[a],%[lda],1), %%tmm4\n\t"                                                         \
          "tileloadd (%[b],%[ldb],1), %%tmm6\n\t"                                                         \
          "tileloadd 64(%[b],%[ldb],1), %%tmm7\n\t" DP " %%tmm6, %%tmm4, %%tmm0\n\t"                      \
          DP " %%tmm7, %%tmm4, %%tmm1\n\t"                                                                \
          "add %[depth], %[a]\n\t add %[bytes], %[b]\n\t"                                                 \
          "dec %[steps]\n\t"                                                                              \
          "jnz 1b\n\t"                                                                                    \
          "tilestored %%tmm0, (%[c],%[ldb],1)\n\t tilestored %%tmm1, 64(%[c],%[ldb],1)\n\t"               \
          : [a] "+r"(a), [b] "+r"(b), [steps] "+r"(steps)                                                 \
          : [lda] "r"(lda), [ldb] "r"(ldb), [c] "r"(c), [depth] "i"(kAmxDepth), [bytes] "i"(kBytes)       \
          : "cc", "memory");                                                                              \
    }                                                                                                     \
  }

TR_AMX_TILE(amx_tile_int8, "tdpbusd")
TR_AMX_TILE(amx_tile_bf16, "tdpbf16ps")

#undef TR_AMX_TILE

// The tile of attention, of bf16: C[12][32] = A[12][k] * panel, or added to it. Needs AmxSession<kTileRows>.
template <bool kAdd>
static inline void amx_tile_12(const char* a, long lda, const char* b, long k, char* c, long ldc) {
  constexpr long ldb = kPanelBytes, kBytes = kAmxDepth / 4 * kPanelBytes;
  if constexpr (kAdd) {
    asm volatile("tileloadd (%[c],%[ldc],1), %%tmm0\n\t tileloadd 64(%[c],%[ldc],1), %%tmm1"
                 : : [c] "r"(c), [ldc] "r"(ldc) : "memory");
  } else {
    asm volatile("tilezero %%tmm0\n\t tilezero %%tmm1" ::);
  }
  for (; k > 0; k -= kAmxDepth, a += kAmxDepth, b += kBytes)
    asm volatile(
        "tileloadd (%[a],%[lda],1), %%tmm4\n\t"
        "tileloadd (%[b],%[ldb],1), %%tmm6\n\t"
        "tileloadd 64(%[b],%[ldb],1), %%tmm7\n\t"
        "tdpbf16ps %%tmm6, %%tmm4, %%tmm0\n\t"
        "tdpbf16ps %%tmm7, %%tmm4, %%tmm1"
        : : [a] "r"(a), [lda] "r"(lda), [b] "r"(b), [ldb] "r"(ldb) : "memory");
  asm volatile("tilestored %%tmm0, (%[c],%[ldc],1)\n\t tilestored %%tmm1, 64(%[c],%[ldc],1)"
               : : [c] "r"(c), [ldc] "r"(ldc) : "memory");
}

// The four products of a step without their loads: what the processor can do at most. For measuring only.
#define TR_AMX_SPIN(NAME, DP)                                                                                   \
  static inline void NAME(long rounds) {                                                                        \
    const AmxSession<16> session;                                                                                   \
    asm volatile(                                                                                               \
        ".p2align 5\n\t"                                                                                        \
        "1:\n\t" DP " %%tmm6, %%tmm4, %%tmm0\n\t" DP " %%tmm7, %%tmm4, %%tmm1\n\t" DP " %%tmm6, %%tmm5, %%tmm2\n\t" \
        DP " %%tmm7, %%tmm5, %%tmm3\n\t"                                                                        \
        "dec %[rounds]\n\t"                                                                                     \
        "jnz 1b\n\t"                                                                                            \
        : [rounds] "+r"(rounds)                                                                                 \
        :                                                                                                       \
        : "cc");                                                                                                \
  }

TR_AMX_SPIN(amx_spin_int8, "tdpbusd")
TR_AMX_SPIN(amx_spin_bf16, "tdpbf16ps")

#undef TR_AMX_SPIN

}  // namespace tinyrerank::TR_ISA
