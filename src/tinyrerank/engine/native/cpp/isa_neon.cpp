// Kernels for 64-bit Arm with the dot product of bytes (SDOT).
#define TR_ISA neon
#include "table.hpp"

namespace tinyrerank {

const Kernels* kernels_neon(Mode mode, bool bf16_attention) {
  using namespace neon;
  if (bf16_attention) return nullptr;
  switch (mode) {
    case Mode::int8: return table<Int8Product, Fp32Attention>("neon", "int8", "fp32");
    case Mode::fp32: return table<Fp32Product, Fp32Attention>("neon", "fp32", "fp32");
    case Mode::bf16: return nullptr;
  }
  return nullptr;
}

}  // namespace tinyrerank
