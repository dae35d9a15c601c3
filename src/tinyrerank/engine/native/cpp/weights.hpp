// Takes the prepared arrays and lays them out for the kernels.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <unordered_map>
#include <vector>

#include "buffer.hpp"
#include "kernels.hpp"

namespace tinyrerank {

// A row-major array of the caller, int8 or float.
struct Array {
  const void* data;
  bool is_int8;
  std::vector<size_t> shape;
};

using Arrays = std::unordered_map<std::string, Array>;

// Packed copies of the linear layers; the embedding rows stay with the caller, who keeps them alive.
class Weights {
 public:
  // Throws std::invalid_argument when an array is missing or mis-shaped.
  Weights(const Geometry& geometry, const Arrays& arrays, PanelFormat format);

  const Model& model() const { return model_; }
  int vocabulary() const { return vocabulary_; }

 private:
  const Array& get(const std::string& name, std::vector<size_t> shape) const;
  const float* floats(const std::string& name, std::vector<size_t> shape);
  Norm norm(const std::string& name);
  Linear linear(const std::string& name, int n, int k, PanelFormat format);

  const Arrays* arrays_;
  Model model_{};
  int vocabulary_ = 0;
  std::vector<Layer> layers_;
  std::deque<Buffer> buffers_;
};

}  // namespace tinyrerank
