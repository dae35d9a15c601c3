// Kernels for any machine, in the compiler's 128-bit vectors.
#define TR_ISA portable
#include "table.hpp"

namespace tinyrerank {

const Kernels* kernels_portable(Mode mode, bool bf16_attention) {
  using namespace portable;
  if (bf16_attention) return nullptr;
  switch (mode) {
    case Mode::int8: return table<Int8Product, Fp32Attention>("portable", "int8", "fp32");
    case Mode::fp32: return table<Fp32Product, Fp32Attention>("portable", "fp32", "fp32");
    case Mode::bf16: return nullptr;
  }
  return nullptr;
}

}  // namespace tinyrerank
