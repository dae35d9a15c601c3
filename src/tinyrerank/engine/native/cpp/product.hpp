// Products of a block of rows with packed weights, in int8, bf16 or fp32.
//
// A product type says how rows are encoded before (A), which register tile multiplies them, and how sums become
// floats again. Every row is encoded by its own values only, so a token's result does not depend on its neighbours.
#pragma once

#include "kernels.hpp"
#include "simd.hpp"
#if defined(__AVX512F__)
#include "tile_avx512.hpp"
#else
#include "tile_generic.hpp"
#endif

namespace tinyrerank::TR_ISA {

// x = offset + scale * code, for int8; unused by the others.
struct RowCode {
  float scale, offset;
};

// What holds for the register tiles of vectors. A block has whole tiles of rows; buffers of one of the tiny model take
// 0.7 MiB.
struct VectorTile {
  using Session = NoSession;
  static constexpr int kRows = kTileRows;
  static constexpr int kBlockRows = 6 * kTileRows;
};

// 8-bit activations over the row's own range x signed 8-bit weights, exact int32 sums. Codes are 0..255, less kZero.
struct Int8Product : VectorTile {
#if defined(__AVX512F__)
  using A = uint8_t;
  static constexpr PanelFormat kFormat = PanelFormat::s8x4;
  static constexpr int kZero = 0;
#elif defined(__ARM_FEATURE_DOTPROD)
  using A = int8_t;  // SDOT wants both sides signed
  static constexpr PanelFormat kFormat = PanelFormat::s8x4;
  static constexpr int kZero = 128;
#else
  using A = int16_t;
  static constexpr PanelFormat kFormat = PanelFormat::s16x2;
  static constexpr int kZero = 0;
#endif
  static constexpr int kStep = 4 / sizeof(A);
  static constexpr bool kExactActivation = false;

  static RowCode encode(const float* x, int n, A* out) {
    Vec low = load(x), high = low, low2 = low, high2 = low;  // two chains: one would wait for itself
    for (int i = 0; i < n; i += 2 * kLanes) {                // widths are whole panels
      const Vec v = load(x + i), v2 = load(x + i + kLanes);
      low = vmin(low, v);
      high = vmax(high, v);
      low2 = vmin(low2, v2);
      high2 = vmax(high2, v2);
    }
    return encode(x, n, reduce_min(vmin(low, low2)), reduce_max(vmax(high, high2)), out);
  }

  static RowCode encode(const float* x, int n, float low, float high, A* out) {
    const float range = high - low;
    const float inverse = range > 0 ? 255.0f / range : 0.0f;
    for (int i = 0; i < n; i += kLanes) {
      const VecI code = round_to_int((load(x + i) - low) * inverse);
#if defined(__AVX512F__)
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), _mm512_cvtusepi32_epi8(__m512i(code)));
#else
      for (int j = 0; j < kLanes; ++j) out[i + j] = static_cast<A>(code[j] - kZero);
#endif
    }
    return {range / 255.0f, low + kZero * (range / 255.0f)};
  }

  static void tile(const A* a, int lda, const void* panel, int k, void* c, int rows) {
    tile_int8(a, lda * long(sizeof(A)), panel, kPanelBytes, k / kStep, c, kPanelBytes, rows);
  }

#if defined(__AVX512F__)
  static double spin(long rounds) {  // rows x depth, over all rounds
    spin_int8(rounds);
    return double(rounds) * kTileRows * kStep;
  }
#endif

  static Vec decode(const char* sums, RowCode row, const Linear& w, int column) {
    const Vec sum = to_float(load_i(reinterpret_cast<const int32_t*>(sums)));
    return sum * (row.scale * load(w.scale + column)) + (row.offset * load(w.sum + column) + load(w.bias + column));
  }
};

struct FloatDecode : VectorTile {
  static Vec decode(const char* sums, RowCode, const Linear& w, int column) {
    return load(reinterpret_cast<const float*>(sums)) + load(w.bias + column);
  }
};

struct Fp32Product : FloatDecode {
  using A = float;
  static constexpr PanelFormat kFormat = PanelFormat::f32;
  static constexpr int kStep = 1;
  static constexpr bool kExactActivation = true;
  static RowCode encode(const float* x, int n, A* out) {
    std::memcpy(out, x, n * sizeof(float));
    return {};
  }
  static void tile(const A* a, int lda, const void* panel, int k, void* c, int rows) {
    tile_fp32(a, lda * 4L, panel, kPanelBytes, k, c, kPanelBytes, rows);
  }
#if defined(__AVX512F__)
  static double spin(long rounds) {  // rows x depth, over all rounds
    spin_fp32(rounds);
    return double(rounds) * kTileRows * kStep;
  }
#endif
};

#if defined(__AVX512F__)
struct Bf16Product : FloatDecode {
  using A = uint16_t;
  static constexpr PanelFormat kFormat = PanelFormat::bf16x2;
  static constexpr int kStep = 2;
  static constexpr bool kExactActivation = false;
  static RowCode encode(const float* x, int n, A* out) {
    for (int i = 0; i < n; i += kLanes)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), to_bf16(load(x + i)));
    return {};
  }
  static void tile(const A* a, int lda, const void* panel, int k, void* c, int rows) {
    tile_bf16(a, lda * 2L, panel, kPanelBytes, k / 2, c, kPanelBytes, rows);
  }
  static double spin(long rounds) {  // rows x depth, over all rounds
    spin_bf16(rounds);
    return double(rounds) * kTileRows * kStep;
  }
};
#endif

// rows x w.n outputs; `emit(row, column of the panel, values)` gets 32 columns of one row at a time. `a` must have
// room for whole tiles of rows. A panel stays in the first-level cache while all rows pass.
template <class Product, class Emit>
static inline void multiply(const Linear& w, const typename Product::A* a, int lda, const RowCode* codes, int rows,
                            Emit&& emit) {
  const typename Product::Session session;
  alignas(64) char sums[Product::kRows * kPanelBytes];
  const long panel_bytes = long(w.k) / Product::kStep * kPanelBytes;
  for (int column = 0; column < w.n; column += kPanel) {
    const char* panel = static_cast<const char*>(w.panels) + column / kPanel * panel_bytes;
    for (int tile = 0; tile < rows; tile += Product::kRows) {
      const int here = rows - tile < Product::kRows ? rows - tile : Product::kRows;
      Product::tile(a + long(tile) * lda, lda, panel, w.k, sums, here);
      for (int r = 0; r < here; ++r) {
        Vec values[kVectors];
        for (int v = 0; v < kVectors; ++v)
          values[v] = Product::decode(sums + r * kPanelBytes + v * kLanes * 4, codes[tile + r], w, column + v * kLanes);
        emit(tile + r, column, values);
      }
    }
  }
}

// Runs the product's instructions for a while, on registers where the tile is written in assembly and on the
// first-level cache otherwise; returns how many multiplications and additions that were.
template <class Product>
static double spin(long rounds) {
#if defined(__AVX512F__)
  return 2.0 * kPanel * Product::spin(rounds);
#else
  constexpr int k = 128;
  alignas(64) static typename Product::A a[kTileRows * k] = {};
  alignas(64) static char panel[k / Product::kStep * kPanelBytes] = {};
  alignas(64) char sums[kTileRows * kPanelBytes];
  for (long i = 0; i < rounds; ++i) {
    Product::tile(a, k, panel, k, sums, kTileRows);
    asm volatile("" : : "r"(sums) : "memory");
  }
  return 2.0 * rounds * kTileRows * kPanel * k;
#endif
}

// c (rows, n) = a (rows, k) b (k, n), all plain fp32 rows; n a multiple of 32, at most 12 rows. Rows up to the next
// multiple of 12 are read and written.
static inline void multiply_fp32(const float* a, long lda, const float* b, long ldb, int k, int n, float* c, long ldc,
                                 int rows) {
  for (int column = 0; column < n; column += kPanel)
    tile_fp32(a, lda * 4, b + column, ldb * 4, k, c + column, ldc * 4, rows);
}

}  // namespace tinyrerank::TR_ISA
