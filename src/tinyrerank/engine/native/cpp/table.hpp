// Instantiates the kernels of one instruction set for each combination of types that it has.
#pragma once

#include "last_layer.hpp"

namespace tinyrerank::TR_ISA {

template <class Product, class Att>
static size_t scratch_bytes(const Geometry& g, int longest) {
  Scratch dense(nullptr);
  BlockBuffers<Product> block_buffers(dense, g);
  HeadRows head_rows(dense, g, longest);
  Scratch attention(nullptr);
  attention.take<typename Att::E>(g.head_p);
  HeadBuffers<Att> head_buffers(attention, g.head_p, longest);
  return dense.used() > attention.used() ? dense.used() : attention.used();
}

template <class Product, class Att>
static const Kernels* table(const char* isa, const char* products, const char* attention) {
  static const Kernels kernels = {isa,
                                  products,
                                  attention,
                                  Product::kFormat,
                                  int(sizeof(typename Att::E)),
                                  Product::kBlockRows,
                                  scratch_bytes<Product, Att>,
                                  embed<Product, Att>,
                                  attend<Att>,
                                  block<Product, Att>,
                                  finish<Product>,
                                  spin<Product>};
  return &kernels;
}

}  // namespace tinyrerank::TR_ISA
