// The Python face: arrays in, logits out. Shapes and types are checked by nanobind, values by the engine.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <stdexcept>

#include "engine.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace tinyrerank {

namespace {

using Ids = nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Logits = nb::ndarray<float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using AnyArray = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;

template <class T>
T pick(const std::string& given, std::initializer_list<std::pair<const char*, T>> known) {
  for (const auto& [name, value] : known)
    if (given == name) return value;
  throw std::invalid_argument("unknown option '" + given + "'");
}

Mode mode_of(const std::string& given) {
  return pick<Mode>(given, {{"int8", Mode::int8}, {"bf16", Mode::bf16}, {"fp32", Mode::fp32}});
}

Isa isa_of(const std::string& given) {
  return pick<Isa>(given, {{"auto", Isa::automatic},
                           {"amx", Isa::amx},
                           {"avx512", Isa::avx512},
                           {"avx2", Isa::avx2},
                           {"neon", Isa::neon},
                           {"portable", Isa::portable}});
}

double peak(const std::string& mode, const std::string& isa, int threads, double seconds) {
  if (threads < 1 || threads > 1024 || !(seconds > 0 && seconds <= 60))
    throw std::invalid_argument("give 1 to 1024 threads and up to 60 seconds");
  const Kernels& kernels = choose_kernels(mode_of(mode), isa_of(isa), AttentionType::automatic);
  nb::gil_scoped_release unlocked;
  return peak_ops(kernels, threads, seconds);
}

class PyEngine {
 public:
  PyEngine(nb::dict geometry, nb::dict arrays, const std::string& mode, const std::string& isa,
           const std::string& attention, int threads, int group_tokens) {
    const auto number = [&](const char* key) { return nb::cast<int>(geometry[key]); };
    Geometry g{};
    g.hidden = number("hidden");
    g.hidden_p = number("hidden_p");
    g.heads = number("heads");
    g.head_p = number("head_p");
    g.context = g.heads * g.head_p;
    g.inter_p = number("inter_p");
    g.layers = number("layers");
    g.eps = nb::cast<float>(geometry["eps"]);
    g.feed_forward = pick<FeedForward>(
        nb::cast<std::string>(geometry["feed_forward"]),
        {{"geglu", FeedForward::geglu}, {"reglu", FeedForward::reglu}, {"original", FeedForward::original}});
    if (g.hidden < 1 || g.hidden_p < g.hidden || g.heads < 1 || g.layers < 1 || g.hidden_p % kPanel ||
        g.head_p % kPanel || g.inter_p % kPanel || g.head_p < 1 || g.inter_p < 1 || threads < 1 || group_tokens < 1)
      throw std::invalid_argument("the geometry is not padded to whole panels, or a number is below 1");

    Arrays sources;
    for (auto [key, value] : arrays) {
      const AnyArray array = nb::cast<AnyArray>(value);
      const bool int8 = array.dtype() == nb::dtype<int8_t>();
      if (!int8 && array.dtype() != nb::dtype<float>()) throw std::invalid_argument("arrays must be int8 or float32");
      Array& source = sources[nb::cast<std::string>(key)];
      source.data = array.data();
      source.is_int8 = int8;
      for (size_t i = 0; i < array.ndim(); ++i) source.shape.push_back(array.shape(i));
    }
    embedding_ = arrays["embedding.weight"];
    const Options options{
        mode_of(mode), isa_of(isa),
        pick<AttentionType>(attention, {{"auto", AttentionType::automatic}, {"bf16", AttentionType::bf16}, {"fp32", AttentionType::fp32}}),
        threads, number("max_length"), group_tokens};
    engine_ = std::make_unique<Engine>(g, sources, options);
  }

  void score(Ids ids, Ids starts, Logits out) {
    if (starts.shape(0) < 1 || out.shape(0) + 1 != starts.shape(0))
      throw std::invalid_argument("cu_seqlens must hold one number more than there are sequences");
    nb::gil_scoped_release unlocked;
    engine_->score(ids.data(), ids.shape(0), starts.data(), out.shape(0), out.data());
  }

  void close() {
    nb::gil_scoped_release unlocked;
    engine_->close();
  }

  std::string path() const {
    const Kernels& k = engine_->kernels();
    return std::string(k.isa) + " " + k.products + ", attention " + k.attention;
  }

  size_t buffer_bytes() const { return engine_->buffer_bytes(); }

 private:
  nb::object embedding_;  // its memory is read in place
  std::unique_ptr<Engine> engine_;
};

}  // namespace

}  // namespace tinyrerank

NB_MODULE(_native, m) {
  using tinyrerank::PyEngine;
  m.def("best_isa", &tinyrerank::best_isa);
  m.def("peak_ops", &tinyrerank::peak, "mode"_a, "isa"_a, "threads"_a, "seconds"_a);
  nb::class_<PyEngine>(m, "Engine")
      .def(nb::init<nb::dict, nb::dict, const std::string&, const std::string&, const std::string&, int, int>(),
           "geometry"_a, "arrays"_a, "mode"_a, "isa"_a, "attention"_a, "threads"_a, "group_tokens"_a)
      .def("score", &PyEngine::score, "ids"_a.noconvert(), "cu_seqlens"_a.noconvert(), "out"_a.noconvert())
      .def("close", &PyEngine::close)
      .def_prop_ro("path", &PyEngine::path)
      .def_prop_ro("buffer_bytes", &PyEngine::buffer_bytes);
}
