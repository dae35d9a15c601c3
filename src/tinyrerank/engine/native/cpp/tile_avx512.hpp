// The register tile for AVX-512: C[rows][32] = A[rows][k] * panel, 4 bytes of A and 128 bytes of panel a step.
//
// Written in assembly because compilers spill the 24 sums of 12 rows. int8 (VPDPBUSD), bf16 (VDPBF16PS) and fp32
// share the loop: each takes 4 bytes of a row, broadcasts them, and multiplies by 32 columns of 4 bytes. A tile of 4
// rows serves what remains; each row's sums are taken in the same order in both.
#pragma once

#include <cstdint>

namespace tinyrerank::TR_ISA {

#define TR_ROW(DP, ADDRESS, TMP, C0, C1)              \
  "vbroadcastss " ADDRESS ", %%zmm" #TMP "\n\t"       \
  DP " %%zmm24, %%zmm" #TMP ", %%zmm" #C0 "\n\t"      \
  DP " %%zmm25, %%zmm" #TMP ", %%zmm" #C1 "\n\t"

#define TR_THREE_ROWS(DP, OFF, BASE, T0, T1, T2, C0, C1, C2, C3, C4, C5) \
  TR_ROW(DP, OFF "(%[" BASE "])", T0, C0, C1)                            \
  TR_ROW(DP, OFF "(%[" BASE "],%[lda])", T1, C2, C3)                     \
  TR_ROW(DP, OFF "(%[" BASE "],%[lda],2)", T2, C4, C5)

#define TR_WEIGHTS                 \
  "vmovups (%[b]), %%zmm24\n\t"    \
  "vmovups 64(%[b]), %%zmm25\n\t"  \
  "add %[ldb], %[b]\n\t"

#define TR_STEP_12(DP, OFF)                                        \
  TR_WEIGHTS                                                       \
  TR_THREE_ROWS(DP, OFF, "a0", 26, 27, 28, 0, 1, 2, 3, 4, 5)       \
  TR_THREE_ROWS(DP, OFF, "a1", 29, 30, 31, 6, 7, 8, 9, 10, 11)     \
  TR_THREE_ROWS(DP, OFF, "a2", 26, 27, 28, 12, 13, 14, 15, 16, 17) \
  TR_THREE_ROWS(DP, OFF, "a3", 29, 30, 31, 18, 19, 20, 21, 22, 23)
#define TR_ADVANCE_12(N) "add $" #N ", %[a0]\n\t add $" #N ", %[a1]\n\t add $" #N ", %[a2]\n\t add $" #N ", %[a3]\n\t"

#define TR_STEP_4(DP, OFF)                                   \
  TR_WEIGHTS                                                 \
  TR_THREE_ROWS(DP, OFF, "a0", 26, 27, 28, 0, 1, 2, 3, 4, 5) \
  TR_ROW(DP, OFF "(%[a1])", 29, 6, 7)
#define TR_ADVANCE_4(N) "add $" #N ", %[a0]\n\t add $" #N ", %[a1]\n\t"

#define TR_ZERO(R) "vpxord %%zmm" #R ", %%zmm" #R ", %%zmm" #R "\n\t"
#define TR_ZERO_4 TR_ZERO(0) TR_ZERO(1) TR_ZERO(2) TR_ZERO(3) TR_ZERO(4) TR_ZERO(5) TR_ZERO(6) TR_ZERO(7)
#define TR_ZERO_12                                                                                          \
  TR_ZERO_4 TR_ZERO(8) TR_ZERO(9) TR_ZERO(10) TR_ZERO(11) TR_ZERO(12) TR_ZERO(13) TR_ZERO(14) TR_ZERO(15)   \
  TR_ZERO(16) TR_ZERO(17) TR_ZERO(18) TR_ZERO(19) TR_ZERO(20) TR_ZERO(21) TR_ZERO(22) TR_ZERO(23)

// The sums of 4 rows or of 12, two registers a row.
#define TR_SUMS_4(DO) DO(0, 1) DO(2, 3) DO(4, 5) DO(6, 7)
#define TR_SUMS_12(DO) \
  TR_SUMS_4(DO) DO(8, 9) DO(10, 11) DO(12, 13) DO(14, 15) DO(16, 17) DO(18, 19) DO(20, 21) DO(22, 23)

#define TR_LOAD(C0, C1)                 \
  "vmovups (%[sums]), %%zmm" #C0 "\n\t"   \
  "vmovups 64(%[sums]), %%zmm" #C1 "\n\t" \
  "add %[ldc], %[sums]\n\t"
#define TR_LOAD_4 TR_SUMS_4(TR_LOAD)
#define TR_LOAD_12 TR_SUMS_12(TR_LOAD)

#define TR_STORE(C0, C1)               \
  "vmovups %%zmm" #C0 ", (%[c])\n\t"   \
  "vmovups %%zmm" #C1 ", 64(%[c])\n\t" \
  "add %[ldc], %[c]\n\t"
#define TR_STORE_4 TR_SUMS_4(TR_STORE)
#define TR_STORE_12 TR_SUMS_12(TR_STORE)

#define TR_TILE_OF(ROWS, NAME, DP, START)                                                                            \
  static inline void NAME(const char* a0, long lda, const void* b, long ldb, long steps, char* c, long ldc) {   \
    const char* a1 = a0 + 3 * lda;                                                                              \
    const char* a2 = a1 + 3 * lda;                                                                              \
    const char* a3 = a2 + 3 * lda;                                                                              \
    const char* sums = c;                                                                                       \
    long fours = steps >> 2, rest = steps & 3;                                                                  \
    asm volatile(                                                                                               \
        START                                                                                                   \
        "test %[fours], %[fours]\n\t"                                                                           \
        "jz 2f\n\t"                                                                                             \
        ".p2align 5\n\t"                                                                                        \
        "1:\n\t"                                                                                                \
        TR_STEP_##ROWS(DP, "0") TR_STEP_##ROWS(DP, "4") TR_STEP_##ROWS(DP, "8") TR_STEP_##ROWS(DP, "12")        \
        TR_ADVANCE_##ROWS(16)                                                                                   \
        "dec %[fours]\n\t"                                                                                      \
        "jnz 1b\n\t"                                                                                            \
        "2:\n\t"                                                                                                \
        "test %[rest], %[rest]\n\t"                                                                             \
        "jz 4f\n\t"                                                                                             \
        "3:\n\t"                                                                                                \
        TR_STEP_##ROWS(DP, "0")                                                                                 \
        TR_ADVANCE_##ROWS(4)                                                                                    \
        "dec %[rest]\n\t"                                                                                       \
        "jnz 3b\n\t"                                                                                            \
        "4:\n\t"                                                                                                \
        TR_STORE_##ROWS                                                                                         \
        : [a0] "+r"(a0), [a1] "+r"(a1), [a2] "+r"(a2), [a3] "+r"(a3), [b] "+r"(b), [c] "+r"(c),                 \
          [sums] "+r"(sums), [fours] "+r"(fours), [rest] "+r"(rest)                                            \
        : [lda] "r"(lda), [ldb] "r"(ldb), [ldc] "r"(ldc)                                                        \
        : "cc", "memory", "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm8", "zmm9",       \
          "zmm10", "zmm11", "zmm12", "zmm13", "zmm14", "zmm15", "zmm16", "zmm17", "zmm18", "zmm19", "zmm20",    \
          "zmm21", "zmm22", "zmm23", "zmm24", "zmm25", "zmm26", "zmm27", "zmm28", "zmm29", "zmm30", "zmm31");   \
  }

// NAME(...) overwrites C; what ends in _add adds to it.
#define TR_TILE(NAME, DP, START)                                                                                \
  TR_TILE_OF(12, NAME##_12, DP, TR_##START##_12)                                                                \
  TR_TILE_OF(4, NAME##_4, DP, TR_##START##_4)                                                                   \
  static inline void NAME(const void* a, long lda, const void* b, long ldb, long steps, void* c, long ldc,      \
                          int rows) {                                                                           \
    const char* from = static_cast<const char*>(a);                                                             \
    char* to = static_cast<char*>(c);                                                                           \
    if (rows > 8) return NAME##_12(from, lda, b, ldb, steps, to, ldc);                                          \
    for (int r = 0; r < rows; r += 4) NAME##_4(from + r * lda, lda, b, ldb, steps, to + r * ldc, ldc);          \
  }

TR_TILE(tile_int8, "vpdpbusd", ZERO)
TR_TILE(tile_bf16, "vdpbf16ps", ZERO)
TR_TILE(tile_bf16_add, "vdpbf16ps", LOAD)
TR_TILE(tile_fp32, "vfmadd231ps", ZERO)
TR_TILE(tile_fp32_add, "vfmadd231ps", LOAD)

// The tile's 24 sums without its loads: what the processor can do at most. For measuring only.
#define TR_SPIN_4(DP, C0, C1, C2, C3)                                                                       \
  DP " %%zmm24, %%zmm25, %%zmm" #C0 "\n\t" DP " %%zmm24, %%zmm25, %%zmm" #C1 "\n\t"                         \
  DP " %%zmm24, %%zmm25, %%zmm" #C2 "\n\t" DP " %%zmm24, %%zmm25, %%zmm" #C3 "\n\t"
#define TR_SPIN(NAME, DP)                                                                                   \
  static inline void NAME(long rounds) {                                                                    \
    asm volatile(                                                                                           \
        TR_ZERO_12 TR_ZERO(24) TR_ZERO(25)                                                                  \
        ".p2align 5\n\t"                                                                                    \
        "1:\n\t"                                                                                            \
        TR_SPIN_4(DP, 0, 1, 2, 3) TR_SPIN_4(DP, 4, 5, 6, 7) TR_SPIN_4(DP, 8, 9, 10, 11)                     \
        TR_SPIN_4(DP, 12, 13, 14, 15) TR_SPIN_4(DP, 16, 17, 18, 19) TR_SPIN_4(DP, 20, 21, 22, 23)           \
        "dec %[rounds]\n\t"                                                                                 \
        "jnz 1b\n\t"                                                                                        \
        : [rounds] "+r"(rounds)                                                                             \
        :                                                                                                   \
        : "cc", "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm8", "zmm9", "zmm10",    \
          "zmm11", "zmm12", "zmm13", "zmm14", "zmm15", "zmm16", "zmm17", "zmm18", "zmm19", "zmm20",         \
          "zmm21", "zmm22", "zmm23", "zmm24", "zmm25");                                                     \
  }

TR_SPIN(spin_int8, "vpdpbusd")
TR_SPIN(spin_bf16, "vdpbf16ps")
TR_SPIN(spin_fp32, "vfmadd231ps")

#undef TR_SPIN
#undef TR_SPIN_4

#undef TR_TILE
#undef TR_TILE_OF
#undef TR_SUMS_12
#undef TR_SUMS_4
#undef TR_LOAD_12
#undef TR_LOAD_4
#undef TR_LOAD
#undef TR_STORE_12
#undef TR_STORE_4
#undef TR_STORE
#undef TR_ZERO_12
#undef TR_ZERO_4
#undef TR_ZERO
#undef TR_ADVANCE_12
#undef TR_ADVANCE_4
#undef TR_STEP_12
#undef TR_STEP_4
#undef TR_WEIGHTS
#undef TR_THREE_ROWS
#undef TR_ROW

}  // namespace tinyrerank::TR_ISA
