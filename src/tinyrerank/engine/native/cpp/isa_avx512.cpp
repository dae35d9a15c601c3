// Kernels for AVX-512 with VNNI, and BF16 where asked for.
#define TR_ISA avx512
#include "table.hpp"

namespace tinyrerank {

const Kernels* kernels_avx512(Mode mode, bool bf16_attention) {
  using namespace avx512;
  switch (mode) {
    case Mode::int8:
      return bf16_attention ? table<Int8Product, CoarseAttention>("avx512", "int8", "bf16")
                            : table<Int8Product, Fp32Attention>("avx512", "int8", "fp32");
    case Mode::bf16:
      return bf16_attention ? table<Bf16Product, Bf16Attention>("avx512", "bf16", "bf16")
                            : table<Bf16Product, Fp32Attention>("avx512", "bf16", "fp32");
    case Mode::fp32:
      return bf16_attention ? nullptr : table<Fp32Product, Fp32Attention>("avx512", "fp32", "fp32");
  }
  return nullptr;
}

}  // namespace tinyrerank
