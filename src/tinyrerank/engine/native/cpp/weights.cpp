#include "weights.hpp"

#include <cstring>
#include <stdexcept>

namespace tinyrerank {

namespace {

uint16_t to_bf16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// The 4 bytes of one column in one step of a panel.
template <PanelFormat format, class T>
uint32_t step_word(const T* row, int step) {
  uint32_t word = 0;
  if constexpr (format == PanelFormat::s8x4) {
    std::memcpy(&word, row + 4 * step, 4);
  } else if constexpr (format == PanelFormat::s16x2) {
    const int16_t pair[2] = {row[2 * step], row[2 * step + 1]};
    std::memcpy(&word, pair, 4);
  } else if constexpr (format == PanelFormat::bf16x2) {
    word = to_bf16(row[2 * step]) | uint32_t(to_bf16(row[2 * step + 1])) << 16;
  } else {
    std::memcpy(&word, row + step, 4);
  }
  return word;
}

template <PanelFormat format, class T>
void pack(const T* rows, int n, int k, int per_step, uint32_t* out) {
  const int steps = k / per_step;
  for (int column = 0; column < n; column += kPanel)
    for (int step = 0; step < steps; ++step)
      for (int c = 0; c < kPanel; ++c) *out++ = step_word<format>(rows + size_t(column + c) * k, step);
}

}  // namespace

const Array& Weights::get(const std::string& name, std::vector<size_t> shape) const {
  const auto found = arrays_->find(name);
  if (found == arrays_->end()) throw std::invalid_argument("array " + name + " is missing");
  if (found->second.shape != shape) throw std::invalid_argument("array " + name + " has another shape than the geometry");
  return found->second;
}

const float* Weights::floats(const std::string& name, std::vector<size_t> shape) {
  const Array& array = get(name, shape);
  if (array.is_int8) throw std::invalid_argument("array " + name + " must hold floats");
  size_t count = 1;
  for (size_t n : shape) count *= n;
  Buffer& copy = buffers_.emplace_back();
  copy.reserve(count * sizeof(float));
  std::memcpy(copy.as<float>(), array.data, count * sizeof(float));
  return copy.as<float>();
}

Norm Weights::norm(const std::string& name) {
  const size_t hidden = model_.geometry.hidden_p;
  return {floats(name + ".gain", {hidden}), floats(name + ".bias", {hidden})};
}

Linear Weights::linear(const std::string& name, int n, int k, PanelFormat format) {
  const Array& array = get(name + ".weight", {size_t(n), size_t(k)});
  const bool int8 = format == PanelFormat::s8x4 || format == PanelFormat::s16x2;
  if (array.is_int8 != int8) throw std::invalid_argument("array " + name + ".weight has the wrong type for this mode");
  Linear out{n, k, nullptr, nullptr, nullptr, floats(name + ".bias", {size_t(n)})};
  const int per_step = format == PanelFormat::s8x4 ? 4 : format == PanelFormat::f32 ? 1 : 2;
  Buffer& panels = buffers_.emplace_back();
  panels.reserve(size_t(n) * k / per_step * 4);
  uint32_t* packed = panels.as<uint32_t>();
  out.panels = packed;
  if (!int8) {
    const float* rows = static_cast<const float*>(array.data);
    if (format == PanelFormat::bf16x2) pack<PanelFormat::bf16x2>(rows, n, k, per_step, packed);
    if (format == PanelFormat::f32) pack<PanelFormat::f32>(rows, n, k, per_step, packed);
    return out;
  }
  const int8_t* rows = static_cast<const int8_t*>(array.data);
  if (format == PanelFormat::s8x4) pack<PanelFormat::s8x4>(rows, n, k, per_step, packed);
  if (format == PanelFormat::s16x2) pack<PanelFormat::s16x2>(rows, n, k, per_step, packed);
  out.scale = floats(name + ".scale", {size_t(n)});
  Buffer& sums = buffers_.emplace_back();
  sums.reserve(n * sizeof(float));
  for (int i = 0; i < n; ++i) {
    int32_t sum = 0;
    for (int j = 0; j < k; ++j) sum += rows[size_t(i) * k + j];
    sums.as<float>()[i] = out.scale[i] * static_cast<float>(sum);
  }
  out.sum = sums.as<float>();
  return out;
}

Weights::Weights(const Geometry& g, const Arrays& arrays, PanelFormat format) : arrays_(&arrays) {
  model_.geometry = g;
  const size_t hidden = g.hidden_p, context = g.context;
  const int up = g.feed_forward == FeedForward::original ? g.inter_p : 2 * g.inter_p;
  for (int l = 0; l < g.layers; ++l) {
    const std::string name = std::to_string(l) + ".";
    Layer& layer = layers_.emplace_back();
    if (l + 1 < g.layers) layer.qkv = linear(name + "qkv", 3 * g.context, g.hidden_p, format);
    layer.out = linear(name + "out", g.hidden_p, g.context, format);
    layer.up = linear(name + "up", up, g.hidden_p, format);
    layer.down = linear(name + "down", g.hidden_p, g.inter_p, format);
    layer.attention = norm(name + "attention_norm");
    layer.output = norm(name + "output_norm");
  }
  model_.layers = layers_.data();
  model_.slopes = floats("slopes", {size_t(g.heads)});
  model_.head = {floats("head.query_t", {hidden, context}),
                 floats("head.query_bias", {context}),
                 floats("head.key", {context, hidden}),
                 floats("head.value_t", {hidden, context}),
                 floats("head.value_bias", {context}),
                 floats("head.pooler_t", {hidden, hidden}),
                 floats("head.pooler_bias", {hidden}),
                 floats("head.classifier", {hidden}),
                 *floats("head.classifier_bias", {1})};
  const auto words = arrays.find("embedding.weight");
  if (words == arrays.end() || words->second.shape.size() != 2)
    throw std::invalid_argument("array embedding.weight is missing or not a matrix");
  const size_t rows = words->second.shape[0];
  vocabulary_ = static_cast<int>(rows);
  const Array& table = get("embedding.weight", {rows, size_t(g.hidden)});
  model_.embedding.type_row = floats("embedding.type_row", {hidden});
  model_.embedding.norm = norm("embedding.norm");
  if (table.is_int8) {
    model_.embedding.rows_i8 = static_cast<const int8_t*>(table.data);
    model_.embedding.scale = floats("embedding.scale", {rows});
  } else {
    model_.embedding.rows_f32 = static_cast<const float*>(table.data);
  }
  arrays_ = nullptr;
}

}  // namespace tinyrerank
