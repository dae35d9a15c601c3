#include "cpu.hpp"

#include <stdexcept>
#include <string>

namespace tinyrerank {

namespace {

#if defined(__x86_64__)
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}
bool has_bf16() { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#else
bool has_avx512() { return false; }
bool has_bf16() { return false; }
bool has_avx2() { return false; }
#endif

const Kernels* find(Mode mode, Isa isa, bool bf16_attention) {
#if defined(__x86_64__)
  if (isa == Isa::avx512) return kernels_avx512(mode, bf16_attention);
  if (isa == Isa::avx2) return kernels_avx2(mode, bf16_attention);
#endif
  return kernels_portable(mode, bf16_attention);
}

}  // namespace

const char* best_isa() {
  if (has_bf16()) return "avx512+bf16";
  if (has_avx512()) return "avx512";
  return has_avx2() ? "avx2" : "portable";
}

const Kernels& choose_kernels(Mode mode, Isa isa, AttentionType attention) {
  if (isa == Isa::automatic) isa = has_avx512() ? Isa::avx512 : has_avx2() ? Isa::avx2 : Isa::portable;
  if ((isa == Isa::avx512 && !has_avx512()) || (isa == Isa::avx2 && !has_avx2()))
    throw std::invalid_argument(std::string("this machine lacks the instruction set asked for; the best here is ") +
                                best_isa());
  const bool bf16 = isa == Isa::avx512 && has_bf16();
  if (!bf16 && (mode == Mode::bf16 || attention == AttentionType::bf16))
    throw std::invalid_argument(std::string("bf16 products need AVX512_BF16, and the best here is ") + best_isa() +
                                "; use mode 'int8' or 'fp32'");
  const bool bf16_attention =
      attention == AttentionType::automatic ? bf16 && mode != Mode::fp32 : attention == AttentionType::bf16;
  const Kernels* kernels = find(mode, isa, bf16_attention);
  if (!kernels) throw std::invalid_argument("mode 'fp32' computes attention in fp32; use attention 'auto' or 'fp32'");
  return *kernels;
}

}  // namespace tinyrerank
