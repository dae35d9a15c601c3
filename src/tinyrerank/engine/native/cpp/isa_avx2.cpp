// Kernels for AVX2 with FMA.
#define TR_ISA avx2
#include "table.hpp"

namespace tinyrerank {

const Kernels* kernels_avx2(Mode mode, bool bf16_attention) {
  using namespace avx2;
  if (bf16_attention) return nullptr;
  switch (mode) {
    case Mode::int8: return table<Int8Product, Fp32Attention>("avx2", "int8", "fp32");
    case Mode::fp32: return table<Fp32Product, Fp32Attention>("avx2", "fp32", "fp32");
    case Mode::bf16: return nullptr;
  }
  return nullptr;
}

}  // namespace tinyrerank
