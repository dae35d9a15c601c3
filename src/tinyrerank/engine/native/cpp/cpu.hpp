// What the running machine can do.
#pragma once

#include "kernels.hpp"

namespace tinyrerank {

enum class Isa { automatic, amx, avx512, avx2, neon, portable };
enum class AttentionType { automatic, bf16, fp32 };

// The kernels for a choice, or the best this machine has. Throws std::invalid_argument where it lacks them.
const Kernels& choose_kernels(Mode mode, Isa isa, AttentionType attention);

// The best instruction set here: "amx", "avx512", "avx2", "neon" or "portable"; "avx512+bf16" has bf16 products, and so
// has "amx".
const char* best_isa();

// Operations a second that the products' instructions reach on their own, with so many threads for so long.
double peak_ops(const Kernels& kernels, int threads, double seconds);

}  // namespace tinyrerank
