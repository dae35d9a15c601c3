// Memory that is taken once, grows when it must and is kept: fresh pages are dear, so it asks for large ones.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace tinyrerank {

class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Buffer() { std::free(data_); }

  // At least `bytes` bytes on a cache line; what was in it is lost when it grows.
  void reserve(size_t bytes) {
    if (bytes <= bytes_) return;
    const size_t page = bytes < kHugePage ? 4096 : kHugePage;
    const size_t rounded = (bytes + page - 1) / page * page;
    std::free(std::exchange(data_, nullptr));
    bytes_ = 0;
    data_ = std::aligned_alloc(page, rounded);
    if (!data_) throw std::bad_alloc();
    bytes_ = rounded;
#if defined(__linux__)
    if (page == kHugePage) madvise(data_, rounded, MADV_HUGEPAGE);
#endif
  }

  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

  size_t bytes() const { return bytes_; }

 private:
  static constexpr size_t kHugePage = size_t(2) << 20;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace tinyrerank
