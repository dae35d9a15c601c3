// Products by AMX, of a block of rows with packed weights and in attention. Rows are encoded and sums decoded as with AVX-512, which
// also multiplies where a width is no multiple of a tile's 64 bytes.
#pragma once

#include "attention_head.hpp"
#include "product.hpp"
#include "tile_amx.hpp"

namespace tinyrerank::TR_ISA {

template <class Vector, void (*amx_tile)(const char*, long, const char*, long, char*, int), void (*amx_spin)(long)>
struct AmxProduct : Vector {
  using A = typename Vector::A;
  using Session = AmxSession<16>;
  static constexpr int kRows = kAmxRows, kBlockRows = 3 * kAmxRows;

  static void tile(const A* a, int lda, const void* panel, int k, void* c, int rows) {
    constexpr int kBytes = sizeof(A);
    if (k * kBytes % kAmxDepth == 0)
      return amx_tile(reinterpret_cast<const char*>(a), long(lda) * kBytes, static_cast<const char*>(panel),
                      long(k) * kBytes, static_cast<char*>(c), rows);
    for (int r = 0; r < rows; r += kTileRows)
      Vector::tile(a + long(r) * lda, lda, panel, k, static_cast<char*>(c) + r * kPanelBytes,
                   rows - r < kTileRows ? rows - r : kTileRows);
  }

  static double spin(long rounds) {
    amx_spin(rounds);
    return double(rounds) * kAmxRows * kAmxDepth / sizeof(A);
  }
};

using AmxInt8Product = AmxProduct<Int8Product, amx_tile_int8, amx_spin_int8>;
using AmxBf16Product = AmxProduct<Bf16Product, amx_tile_bf16, amx_spin_bf16>;

// Attention's products; its rows, of whole panels' width, are multiples of a tile's 64 bytes.
template <class Vector>
struct AmxAttention : Vector {
  using E = typename Vector::E;
  using Session = AmxSession<kTileRows>;
  static void tile(const E* a, long lda, const void* b, long steps, float* c, long ldc, int) {
    amx_tile_12<false>(reinterpret_cast<const char*>(a), lda * 2, static_cast<const char*>(b), steps * 4,
                       reinterpret_cast<char*>(c), ldc * 4);
  }
  static void tile_add(const E* a, long lda, const void* b, long steps, float* c, long ldc, int) {
    amx_tile_12<true>(reinterpret_cast<const char*>(a), lda * 2, static_cast<const char*>(b), steps * 4,
                      reinterpret_cast<char*>(c), ldc * 4);
  }
};

}  // namespace tinyrerank::TR_ISA
