// The Python face of the fast lane: JSON in, arrays of ids and places out.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include "bpe.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Column = nb::ndarray<nb::numpy, int32_t, nb::ndim<1>>;

Column column(std::vector<int32_t>&& values) {
  auto* kept = new std::vector<int32_t>(std::move(values));
  nb::capsule owner(kept, [](void* p) noexcept { delete static_cast<std::vector<int32_t>*>(p); });
  return Column(kept->data(), {kept->size()}, owner);
}

// For each text its ids, first and one-past-last characters, or None where the library must be asked.
nb::list encode(const tinyrerank::Bpe& bpe, const std::vector<std::string_view>& texts) {
  std::vector<tinyrerank::Encoded> all(texts.size());
  {
    nb::gil_scoped_release unlocked;
    for (size_t i = 0; i < texts.size(); ++i) all[i] = bpe.encode(texts[i]);
  }
  nb::list out;
  for (tinyrerank::Encoded& one : all) {
    if (one.sure)
      out.append(nb::make_tuple(column(std::move(one.ids)), column(std::move(one.starts)), column(std::move(one.ends))));
    else
      out.append(nb::none());
  }
  return out;
}

}  // namespace

NB_MODULE(_bpe, m) {
  using tinyrerank::Bpe;
  nb::class_<Bpe>(m, "Bpe")
      .def("__init__",
           [](Bpe* self, nb::bytes json) { new (self) Bpe(std::string_view(json.c_str(), json.size())); }, "json"_a)
      .def_prop_ro("vocab_size", &Bpe::vocab_size)
      .def_prop_ro("rest", &Bpe::rest)
      .def("find", &Bpe::find, "word"_a)
      .def("configure", &Bpe::configure, "unknown"_a, "specials"_a)
      .def("encode", &encode, "texts"_a);
}
