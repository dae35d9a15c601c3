// A thread's working memory, handed out piece by piece within one task. Run with a null base it only measures.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace tinyrerank::TR_ISA {

class Scratch {
 public:
  explicit Scratch(char* base) : base_(base) {}

  template <class T>
  T* take(long count) {
    T* piece = reinterpret_cast<T*>(base_ + used_);
    used_ += (count * sizeof(T) + 127) / 64 * 64;  // a spare cache line, so that vectors may read past the end
    return piece;
  }

  template <class T>
  const T* zeros(long count) {
    T* piece = take<T>(count);
    std::memset(piece, 0, count * sizeof(T));
    return piece;
  }

  size_t used() const { return used_; }

 private:
  char* base_;
  size_t used_ = 0;
};

}  // namespace tinyrerank::TR_ISA
