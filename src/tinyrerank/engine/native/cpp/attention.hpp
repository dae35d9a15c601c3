// Attention of one sequence and one head: scores q.k + ALiBi in log2 units, softmax, weighted sum of values.
//
// Tiles of 12 queries meet panels of 32 keys, at most kBlockPanels at a time, so that buffers stay small at any length.
// Bounds by Cauchy-Schwarz come from the data of the sequence itself:
// - If max|q| max|k| is small, 2^score cannot overflow and the softmax needs neither a maximum nor rescaling.
// - With c the centre of a panel's keys and r = max|k - c|, their scores are at most q.c + |q| r - slope d, d the
//   distance of the nearest. The panels next to the tile are met first. Then panels are left out from both ends of
//   the sequence, as long as all that is left out weighs at most 2^-kNegligible of what was met, for every query of
//   the tile: by a bound for all keys at once, by the panels' bounds, and in what remains by the scores themselves,
//   which spares exponentials and values.
#pragma once

#include "attention_head.hpp"

namespace tinyrerank::TR_ISA {

constexpr float kNearBits = 3.0f;    // keys within 2^-3 by ALiBi alone are met before anything is bounded
constexpr float kSafeBound = 60.0f;  // 2^60 * 8192 and 2^-60 * 2^-24 are ordinary floats

// A range of panels.
struct Panels {
  int low, high;
  int count() const { return high - low; }
};

static inline Panels within(Panels a, Panels limit) {
  return {a.low > limit.low ? a.low : limit.low, a.high < limit.high ? a.high : limit.high};
}

// log2(x) or up to 0.09 less, for normal x > 0.
static inline float log2_at_least(float x) {
  int32_t word;
  std::memcpy(&word, &x, 4);
  return static_cast<float>(word) * 0x1p-23f - 127.0f;
}

// A tile of up to 12 queries on its way over the keys.
template <class Att>
struct Tile {
  using E = typename Att::E;
  const HeadBuffers<Att>& b;
  const E* queries;
  int head_p, n, first, rows;
  float slope;
  bool safe = false;       // whether weights are taken without a maximum
  bool fresh = true;       // no keys met yet
  float sizes[kTileRows];  // |q|
  float top[kTileRows];    // running maxima of the scores, 0 if safe
  float met[kTileRows];    // log2 of what the keys met so far weigh, or a little less
  Vec totals[kTileRows];

  Tile(const HeadBuffers<Att>& buffers, const E* q, int width, int tokens, int first_row, int n_rows, float alibi_slope)
      : b(buffers), queries(q), head_p(width), n(tokens), first(first_row), rows(n_rows), slope(alibi_slope) {}

  int all() const { return (n + kPanel - 1) / kPanel; }
  const float* alibi(int panel, int row) const { return b.alibi + b.middle + panel * kPanel - (first + row); }
  float* scores(int slot) const { return b.scores + slot * kTileRows * kScoreRow; }

  void start() {
    for (int r = 0; r < kTileRows; ++r) {
      top[r] = safe ? 0.0f : -3e38f;
      totals[r] = Vec{};
    }
  }

  void score(int panel, int slot) const {
    const int words = head_p / Att::kStep;
    Att::tile(queries, head_p, b.keys + long(panel) * kPanel * words, words, scores(slot), kScoreRow, rows);
  }

  // Weights of one panel, against the maxima `top` unless safe. Keys beyond the end weigh nothing.
  template <bool kSafe, bool kTiny>
  void weigh(int panel, int slot, int position) {
    const int valid = n - panel * kPanel, n_rows = rows;
    const float *from = scores(slot), *bias = alibi(panel, 0);
    E* to = b.weights + position * kPanel;
    for (int r = 0; r < n_rows; ++r, from += kScoreRow, --bias, to += kWeightRow) {
      Vec w[kVectors];
      for (int v = 0; v < kVectors; ++v) {
        Vec score = load(from + v * kLanes) + load(bias + v * kLanes);
        if constexpr (!kSafe) score = score - top[r];
        w[v] = exp2v<Att::kExact, kTiny>(score);
      }
      if (valid < kPanel)
        for (int v = 0; v < kVectors; ++v) w[v] = iota() + v * kLanes < valid ? w[v] : Vec{};
      Vec sum = w[0];
      for (int v = 1; v < kVectors; ++v) sum += w[v];
      totals[r] += sum;
      Att::store_weights(to, w);
    }
  }

  // The same for scores between -kSafeBound and kSafeBound before ALiBi.
  void weigh_safe(int panel, int slot, int position) {
    const int before = first + rows - panel * kPanel, after = (panel + 1) * kPanel - first;
    const bool tiny = slope * (before > after ? before : after) > 126.0f - kSafeBound;
    tiny ? weigh<true, true>(panel, slot, position) : weigh<true, false>(panel, slot, position);
  }

  // Raises the maxima to those of the scores in the first slots; what was met before shrinks accordingly.
  void raise(Panels panels) {
    for (int r = 0; r < rows; ++r) {
      Vec best = splat(top[r]);
      for (int panel = panels.low; panel < panels.high; ++panel) {
        const int valid = n - panel * kPanel;
        float* row = scores(panel - panels.low) + r * kScoreRow;
        for (int v = 0; v < kVectors; ++v) {
          const Vec score = load(row + v * kLanes) + load(alibi(panel, r) + v * kLanes);
          best = iota() + v * kLanes < valid ? vmax(best, score) : best;
        }
      }
      const float now = reduce_max(best), shrink = exp2v<true>(splat(top[r] - now))[0];
      top[r] = now;
      totals[r] = totals[r] * shrink;
      float* sums = b.sums + r * head_p;
      if (!fresh)
        for (int d = 0; d < head_p; d += kLanes) store(sums + d, load(sums + d) * shrink);
    }
  }

  // Scores and weights of at most kBlockPanels panels, the first at `position`.
  void weigh_all(Panels panels, int position) {
    if (safe) {
      for (int panel = panels.low; panel < panels.high; ++panel) {
        score(panel, 0);
        weigh_safe(panel, 0, position + panel - panels.low);
      }
      return;
    }
    for (int panel = panels.low; panel < panels.high; ++panel) score(panel, panel - panels.low);
    raise(panels);
    for (int panel = panels.low; panel < panels.high; ++panel)
      weigh<false, true>(panel, panel - panels.low, position + panel - panels.low);
  }

  // Adds the weighted values of panels, the weights of the first at `position`.
  void add_values(Panels panels, int position) {
    const E* weights = b.weights + position * kPanel;
    for (int d = 0; d < head_p; d += kPanel) {
      const uint32_t* values = b.values + (long(d) * all() + panels.low * kPanel) * kPanel / Att::kStep;
      const int steps = panels.count() * kPanel / Att::kStep;
      (fresh ? Att::tile : Att::tile_add)(weights, kWeightRow, values, steps, b.sums + d, head_p, rows);
    }
    fresh = false;
  }

  void meet(Panels panels) {
    weigh_all(panels, 0);
    add_values(panels, 0);
  }

  void sum_up() {
    for (int r = 0; r < kTileRows; ++r)
      met[r] = r < rows ? top[r] + log2_at_least(reduce_add(totals[r])) : 3e38f;
  }

  // Sets b.most of a group of panels: what their keys weigh at most, against what was met.
  void bound(int group, float panel_mass) const {
    const int words = head_p / Att::kStep, at = group * kGroupPanels;
    for (int i = 0; i < kGroupPanels; i += kLanes) {
      Vec dots[kTileRows] = {};
      for (int word = 0; word < words; ++word) {
        const VecI centre = load_i(words_of(b.centres + (long(group) * words + word) * kGroupPanels + i));
        for (int r = 0; r < kTileRows; ++r)
          dots[r] = Att::add_dot(dots[r], centre, splat_i(words_of(queries)[r * words + word]));
      }
      const Vec radius = load(b.radius + at + i);
      Vec most = splat(-3e38f);
      for (int r = 0; r < kTileRows; ++r) most = vmax(dots[r] + radius * sizes[r] - met[r], most);
      const Vec key = to_float((iota() + (at + i)) * kPanel);
      const Vec before = float(first) - (key + float(kPanel - 1)), after = key - float(first + rows - 1);
      const Vec distance = vmax(vmax(before, after), splat(0.0f));
      store(b.most + at + i, exp2v<true>(vmin(most - slope * distance + panel_mass, splat(100.0f))));
    }
  }

  // The distance beyond which all keys together weigh at most 2^-tail (1 - 2^-slope) / 2. May be infinite.
  float reach(float radius, float tail) const {
    float farthest = 0;
    for (int r = 0; r < rows; ++r) {
      const float centre = dot<Att>(queries + r * head_p, b.mean, head_p / Att::kStep);
      const float far = (centre + sizes[r] * radius - met[r] + tail) / slope;
      farthest = far > farthest || far != far ? far : farthest;
    }
    return farthest;
  }

  // Panels that are still needed, `done` among them, by the bounds.
  Panels needed(Panels done, const KeyBounds& keys) const {
    const float share = __builtin_exp2f(-Att::kNegligible) / 4;
    const float mass = -__builtin_log2f(1.0f - __builtin_exp2f(-slope));
    const float panel_mass = mass + __builtin_log2f(1.0f - __builtin_exp2f(-slope * kPanel));
    Panels range{0, all()};
    if (all() > kGroupPanels) {
      const float far = reach(keys.radius, Att::kNegligible + 3.0f + mass);
      if (far < n) {
        const int keys_far = static_cast<int>(far) + 1;
        if (first > keys_far) range.low = (first - keys_far) / kPanel;
        if (first + rows + keys_far < n) range.high = (first + rows + keys_far) / kPanel + 1;
      }
    }
    for (int group = range.low / kGroupPanels; group * kGroupPanels < range.high; ++group) bound(group, panel_mass);
    float spent = 0;
    while (range.low < done.low && spent + b.most[range.low] <= share / 2) spent += b.most[range.low++];
    while (range.high > done.high && spent + b.most[range.high - 1] <= share) spent += b.most[--range.high];
    return range;
  }

  // What the keys of a panel weigh at most, from their scores.
  float weight_at_most(int panel, int slot) const {
    const float *from = scores(slot), *bias = alibi(panel, 0);
    Vec most[kVectors];
    for (int v = 0; v < kVectors; ++v) most[v] = splat(-3e38f);
    for (int r = 0; r < rows; ++r, from += kScoreRow, --bias)
      for (int v = 0; v < kVectors; ++v)
        most[v] = vmax(load(from + v * kLanes) + load(bias + v * kLanes) - met[r], most[v]);
    Vec sum = {};
    for (int v = 0; v < kVectors; ++v) sum += exp2v<true>(vmin(most[v], splat(100.0f)));
    return reduce_add(sum);
  }

  // Meets panels from the far end on, which is the low or the high one. The first ones are left out while they weigh
  // no more than `allowance` together, which shrinks.
  void meet_from(Panels panels, bool low_end, float* allowance) {
    bool leaving = true;
    while (panels.count() > 0) {
      const int here = panels.count() < kBlockPanels ? panels.count() : kBlockPanels;
      Panels block = low_end ? Panels{panels.low, panels.low + here} : Panels{panels.high - here, panels.high};
      (low_end ? panels.low : panels.high) = low_end ? block.high : block.low;
      while (leaving && block.count() > 0) {
        const int panel = low_end ? block.low : block.high - 1;
        score(panel, 0);
        const float weight = weight_at_most(panel, 0);
        leaving = weight <= *allowance;
        if (!leaving) break;
        *allowance -= weight;
        (low_end ? block.low : block.high) += low_end ? 1 : -1;
      }
      if (block.count() > 0) meet(block);
    }
  }

  // All keys that matter.
  void meet_needed(const KeyBounds& keys) {
    const Panels everything{0, all()};
    const int behind = n - first - rows, far = first > behind ? first : behind;
    const bool local = slope * far >= Att::kNegligible;  // otherwise hardly anything can be left out
    const Panels own{first / kPanel, (first + rows - 1) / kPanel + 1};
    int left = own.low - (kBlockPanels - own.count()) / 2;
    left = left > all() - kBlockPanels ? all() - kBlockPanels : left;
    left = left < 0 ? 0 : left;
    const Panels window = within({left, left + kBlockPanels}, everything);
    start();
    if (local && safe && slope * (kBlockPanels / 2 * kPanel) >= Att::kNegligible) {
      constexpr int middle = kBlockPanels - 1;  // the slot of own.low: panels up to 7 before it find a place
      weigh_all(own, middle);
      sum_up();
      const Panels range = needed(own, keys);
      if (range.count() <= kBlockPanels) {
        weigh_all({range.low, own.low}, middle - (own.low - range.low));
        weigh_all({own.high, range.high}, middle + own.count());
        add_values(range, middle - (own.low - range.low));
        return;
      }
      start();
    }
    meet(window);
    // On with the neighbours that weigh much by their distance alone: the more is met, the more can be left out.
    Panels done = window;
    for (int i = kBlockPanels / 2; slope * (i * kPanel) < kNearBits && done.count() < all(); i += kBlockPanels) {
      const Panels more = within({done.low - kBlockPanels, done.high + kBlockPanels}, everything);
      if (more.low < done.low) meet({more.low, done.low});
      if (more.high > done.high) meet({done.high, more.high});
      done = more;
    }
    if (done.count() == all()) return;
    sum_up();
    const Panels range = local ? needed(done, keys) : everything;
    float allowance = __builtin_exp2f(-Att::kNegligible) / 4;
    if (range.low < done.low) meet_from({range.low, done.low}, true, &allowance);
    allowance += __builtin_exp2f(-Att::kNegligible) / 4;
    if (range.high > done.high) meet_from({done.high, range.high}, false, &allowance);
  }
};

template <class Att>
static void attend(const Model& model, const Group& group, int layer, int doc, int head, char* memory) {
  using E = typename Att::E;
  const Geometry& g = model.geometry;
  const int begin = group.starts[doc], n = group.starts[doc + 1] - begin, head_p = g.head_p;
  Scratch scratch(memory);
  const E* zeros = scratch.zeros<E>(head_p);
  HeadBuffers<Att> b(scratch, head_p, n);
  const int32_t* row_of = layer == 0 ? group.row_of : nullptr;
  const auto rows_of = [&](int part) {
    const E* plane = static_cast<const E*>(group.qkv) + (part * g.heads + head) * group.qkv_rows * head_p;
    return Rows<E>{plane, head_p, row_of, begin, n, zeros};
  };
  const Rows<E> q = rows_of(0);
  const KeyBounds keys = pack_head<Att>(rows_of(1), rows_of(2), head_p, b);

  const float slope = model.slopes[head];
  for (int i = 0; i < 2 * b.middle + kPanel; i += kLanes) {
    const Vec d = to_float(iota() + (i - b.middle));
    store(b.alibi + i, vmax(d, -d) * -slope);
  }

  const typename Att::Session session;
  for (int first = 0; first < n; first += kTileRows) {
    const int rows = n - first < kTileRows ? n - first : kTileRows;
    // Whole tiles of consecutive rows are used where they lie.
    const bool in_place = !row_of && rows == kTileRows;
    const E* queries = in_place ? q[first] : b.queries;
    Tile<Att> tile(b, queries, head_p, n, first, rows, slope);
    float largest = 0;
    for (int r = 0; r < kTileRows; ++r) {
      const E* row = q[first + r];
      if (!in_place) std::memcpy(b.queries + r * head_p, row, head_p * sizeof(E));
      const float size = __builtin_sqrtf(dot<Att>(row, row, head_p / Att::kStep));
      tile.sizes[r] = size;
      largest = size > largest || size != size ? size : largest;
    }
    tile.safe = largest * keys.largest <= kSafeBound;
    tile.meet_needed(keys);
    for (int r = 0; r < rows; ++r) {
      float* out = group.context + long(begin + first + r) * g.context + head * head_p;
      const float inverse = 1.0f / reduce_add(tile.totals[r]);
      for (int d = 0; d < head_p; d += kLanes) store(out + d, load(b.sums + r * head_p + d) * inverse);
    }
  }
}

}  // namespace tinyrerank::TR_ISA
