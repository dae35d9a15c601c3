// Kernels for AMX: int8 and bf16 products in its tile registers, all else as with AVX-512.
#define TR_ISA amx
#include "table.hpp"
#include "product_amx.hpp"

namespace tinyrerank {

const Kernels* kernels_amx(Mode mode, bool bf16_attention) {
  using namespace amx;
  switch (mode) {
    case Mode::int8:
      return bf16_attention ? table<AmxInt8Product, AmxAttention<CoarseAttention>>("amx", "int8", "bf16")
                            : table<AmxInt8Product, Fp32Attention>("amx", "int8", "fp32");
    case Mode::bf16:
      return bf16_attention ? table<AmxBf16Product, AmxAttention<Bf16Attention>>("amx", "bf16", "bf16")
                            : table<AmxBf16Product, Fp32Attention>("amx", "bf16", "fp32");
    case Mode::fp32: return nullptr;  // AMX multiplies no floats
  }
  return nullptr;
}

}  // namespace tinyrerank
