// What the model hands to the kernels, and the table of functions that every instruction set provides.
//
// Only plain structs and function pointers cross this border: the files behind it are compiled for instruction
// sets that the running machine may lack, so no inline function of theirs may leak out and be picked by the linker.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tinyrerank {

constexpr int kTileRows = 12;    // rows of a register tile: 12 x 32 sums fill 24 of the 32 vector registers
constexpr int kPanel = 32;       // columns of a weight panel; every width is padded to a multiple of it
constexpr int kPanelBytes = 128; // one step of a panel: 32 columns x 4 bytes (4 int8, 2 int16 or bf16, 1 float)

enum class FeedForward { geglu, reglu, original };

// How the weights of a linear layer lie in a panel step: 4 bytes a column.
enum class PanelFormat { s8x4, s16x2, bf16x2, f32 };

// Widths of the model; *_p are padded to whole panels, the padding holds zeros.
struct Geometry {
  int hidden, hidden_p;
  int heads, head_p;
  int context;  // heads * head_p
  int inter_p;
  int layers;
  FeedForward feed_forward;
  float eps;
};

// y = x W^T + bias, W packed in panels. scale and sum undo the int8 form and are unused in the others:
// y = acc * (row scale * scale) + row offset * sum + bias.
struct Linear {
  int n, k;
  const void* panels;
  const float* scale;
  const float* sum;
  const float* bias;
};

struct Norm {
  const float *gain, *bias;
};

struct Layer {
  Linear qkv, out, up, down;  // qkv is absent in the last layer
  Norm attention, output;
};

// The last layer's products for <s>, the pooler and the classifier, plain fp32 (see last_layer.hpp).
struct Head {
  const float* query_t;   // (hidden_p, context), scaled by log2(e) / sqrt(head size), transposed
  const float* query_bias;
  const float* key;       // (context, hidden_p)
  const float* value_t;   // (hidden_p, context), transposed
  const float* value_bias;
  const float* pooler_t;  // (hidden_p, hidden_p), transposed
  const float* pooler_bias;
  const float* classifier;  // (hidden_p)
  float classifier_bias;
};

struct Embedding {
  const int8_t* rows_i8;     // either this, with a scale a row,
  const float* scale;
  const float* rows_f32;     // or this
  const float* type_row;     // (hidden_p)
  Norm norm;
};

struct Model {
  Geometry geometry;
  Embedding embedding;
  const Layer* layers;
  const float* slopes;  // (heads), ALiBi slopes times log2(e)
  Head head;
};

// One group of packed sequences on its way through the layers.
struct Group {
  int docs;
  const int32_t* starts;     // (docs + 1) first token of each sequence
  const int32_t* ids;        // distinct token ids, the rows of `embedded`
  const int32_t* row_of;     // token -> row of `embedded` and, in layer 0, of `qkv`; null: the token itself
  float* embedded;           // (rows, hidden_p)
  float* x;                  // (tokens, hidden_p), the residual stream from the first block on
  void* qkv;                 // (3 * heads, qkv_rows, head_p): a plane for each head of Q, K and V
  long qkv_rows;             // a head's rows follow each other, so that reading them streams
  float* context;            // (tokens, context)
  float* logits;             // (docs)
};

struct Kernels {
  const char* isa;
  const char* products;   // type of the linear layers' products
  const char* attention;  // type of the attention's products
  PanelFormat format;
  int attention_bytes;    // size of an element of qkv
  int block_rows;         // most tokens that are best handed to `block` and `embed` at once

  // Bytes of scratch a thread needs for sequences of up to `longest` tokens.
  size_t (*scratch_bytes)(const Geometry&, int longest);
  // Embeddings, LayerNorm and the first layer's Q, K, V of rows [begin, end) of group.ids.
  void (*embed)(const Model&, const Group&, int begin, int end, char* scratch);
  // Attention of one sequence and one head: qkv -> context.
  void (*attend)(const Model&, const Group&, int layer, int doc, int head, char* scratch);
  // The rest of a layer for tokens [begin, end), and Q, K, V of the next layer.
  void (*block)(const Model&, const Group&, int layer, int begin, int end, char* scratch);
  // The last layer for <s> only, pooler and classifier of sequences [begin, end), at most kTileRows of them.
  void (*finish)(const Model&, const Group&, int begin, int end, char* scratch);
  // Nothing but the products' instructions, to measure the machine's peak; returns the operations done.
  double (*spin)(long rounds);
};

enum class Mode { int8, bf16, fp32 };

// One a compiled instruction set; null where it lacks the combination.
const Kernels* kernels_amx(Mode mode, bool bf16_attention);
const Kernels* kernels_avx512(Mode mode, bool bf16_attention);
const Kernels* kernels_avx2(Mode mode, bool bf16_attention);
const Kernels* kernels_neon(Mode mode, bool bf16_attention);
const Kernels* kernels_portable(Mode mode, bool bf16_attention);

}  // namespace tinyrerank
