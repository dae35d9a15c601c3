#include "cpu.hpp"

#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#elif defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace tinyrerank {

namespace {

bool has_avx512() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
#else
  return false;
#endif
}

bool has_bf16() {
#if defined(__x86_64__)
  return has_avx512() && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

// Tiles of int8 and bf16, and Linux's leave to use their 8 KiB of registers, which a process asks for once.
bool has_amx() {
#if defined(__x86_64__) && defined(__linux__)
  static const bool allowed = [] {
    constexpr unsigned kBf16 = 1u << 22, kTile = 1u << 24, kInt8 = 1u << 25, kAll = kBf16 | kTile | kInt8;
    constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM of asm/prctl.h, Linux 5.16
    unsigned a, b, c, d;
    return has_bf16() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & kAll) == kAll &&
           syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  }();
  return allowed;
#else
  return false;
#endif
}

bool has_avx2() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return false;
#endif
}

bool has_neon() {  // with the dot product of bytes, which the kernels are compiled for
#if defined(__aarch64__) && defined(__linux__)
  return getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
#elif defined(__aarch64__) && defined(__APPLE__)
  return true;
#else
  return false;
#endif
}

bool has(Isa isa) {
  switch (isa) {
    case Isa::amx: return has_amx();
    case Isa::avx512: return has_avx512();
    case Isa::avx2: return has_avx2();
    case Isa::neon: return has_neon();
    default: return true;
  }
}

Isa best(Mode mode) {
  for (Isa isa : {Isa::amx, Isa::avx512, Isa::avx2, Isa::neon})
    if (has(isa) && !(isa == Isa::amx && mode == Mode::fp32)) return isa;
  return Isa::portable;
}

const Kernels* find(Mode mode, Isa isa, bool bf16_attention) {
#if defined(__x86_64__)
  if (isa == Isa::amx) return kernels_amx(mode, bf16_attention);
  if (isa == Isa::avx512) return kernels_avx512(mode, bf16_attention);
  if (isa == Isa::avx2) return kernels_avx2(mode, bf16_attention);
#elif defined(__aarch64__)
  if (isa == Isa::neon) return kernels_neon(mode, bf16_attention);
#endif
  return kernels_portable(mode, bf16_attention);
}

}  // namespace

const char* best_isa() {
  if (has_amx()) return "amx";
  if (has_bf16()) return "avx512+bf16";
  if (has_avx512()) return "avx512";
  if (has_avx2()) return "avx2";
  return has_neon() ? "neon" : "portable";
}

const Kernels& choose_kernels(Mode mode, Isa isa, AttentionType attention) {
  if (isa == Isa::automatic) isa = best(mode);
  if (!has(isa))
    throw std::invalid_argument(std::string("this machine lacks the instruction set asked for; the best here is ") +
                                best_isa());
  const bool bf16 = isa == Isa::amx || (isa == Isa::avx512 && has_bf16());
  if (!bf16 && (mode == Mode::bf16 || attention == AttentionType::bf16))
    throw std::invalid_argument(std::string("bf16 products need AVX512_BF16, and the best here is ") + best_isa() +
                                "; use mode 'int8' or 'fp32'");
  const bool bf16_attention =
      attention == AttentionType::automatic ? bf16 && mode != Mode::fp32 : attention == AttentionType::bf16;
  const Kernels* kernels = find(mode, isa, bf16_attention);
  if (!kernels && isa == Isa::amx) throw std::invalid_argument("AMX multiplies int8 and bf16, not fp32; use isa 'auto'");
  if (!kernels) throw std::invalid_argument("mode 'fp32' computes attention in fp32; use attention 'auto' or 'fp32'");
  return *kernels;
}

double peak_ops(const Kernels& kernels, int threads, double seconds) {
  using Clock = std::chrono::steady_clock;
  constexpr long kRounds = 500;
  std::vector<double> rates(threads);
  const auto run = [&](int thread) {
    kernels.spin(kRounds);
    const auto start = Clock::now();
    double ops = 0, elapsed = 0;
    while (elapsed < seconds) {
      ops += kernels.spin(kRounds);
      elapsed = std::chrono::duration<double>(Clock::now() - start).count();
    }
    rates[thread] = ops / elapsed;
  };
  std::vector<std::thread> others;
  for (int i = 1; i < threads; ++i) others.emplace_back(run, i);
  run(0);
  for (std::thread& other : others) other.join();
  double sum = 0;
  for (double rate : rates) sum += rate;
  return sum;
}

}  // namespace tinyrerank
