// Products of float32 matrices on Intel's matrix units (AMX), which multiply in bfloat16 and add in float32.
//
// A float32 number has 24 binary digits, a bfloat16 number 8: the sum of three of these, the number cut off after eight
// digits, the rest cut off likewise, and what is left then, is the number itself. Of the nine products of two such sums
// the six largest are computed, which leaves an error of some 1e-7, as products in float32 do (Henry, Tang and Heinecke,
// "Leveraging the bfloat16 Artificial Intelligence Datatype For Higher-Precision Computations", ARITH 2019).
//
// What follows a product in a layer, and the sums beside it, are done while its numbers are at hand. Everything runs in
// the thread that calls. An infinite factor makes NaN, not infinity.

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <torch/library.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <tuple>
#include <vector>

namespace {

using at::Tensor;

// A tile is 16 rows of 16 words; a word holds two numbers along the sum, so that one instruction sums over 32.
constexpr int64_t SIDE = 16, STEP = 32, TILE = 1024;
constexpr int64_t PARTS = 3;
// Of an operand so much is split at a time, and so many rows go through a stack of layers: what is worked with then stays
// in a core's 2 MB of cache.
constexpr int64_t DEPTH = 256, LONGEST = 512, OUTPUTS = 1 << 17, PART = 256, CACHE = 1 << 21;

int64_t tiles(int64_t size) { return (size + SIDE - 1) / SIDE; }

__mmask16 first(int64_t lanes) { return lanes >= SIDE ? 0xffff : lanes > 0 ? (1u << lanes) - 1 : 0; }

// Memory of this thread, for the tiles of both operands and the sums.
char* workspace() {
  constexpr int64_t BYTES = (LONGEST + STEP) * DEPTH * 2 * PARTS + OUTPUTS * sizeof(float);
  static thread_local std::unique_ptr<char, decltype(&std::free)> memory{
      static_cast<char*>(std::aligned_alloc(4096, BYTES)), &std::free};
  return memory.get();
}

// One factor of a product: `size` lines, whose numbers along the sum are `along` apart; one of the strides is 1.
struct Factor {
  const float* data;
  int64_t size, between, along;
};

void transpose(__m512 x[SIDE]) {
  __m512i r[SIDE], t[SIDE];
  for (int i = 0; i < SIDE; i++) r[i] = _mm512_castps_si512(x[i]);
  for (int i = 0; i < 8; i++) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 4; i++) {
    r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
  for (int i = 0; i < 4; i++) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
  for (int i = 0; i < 4; i++) {
    x[i] = _mm512_castsi512_ps(_mm512_shuffle_i32x4(t[i], t[i + 8], 0x88));
    x[i + 8] = _mm512_castsi512_ps(_mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd));
    x[i + 4] = _mm512_castsi512_ps(_mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88));
    x[i + 12] = _mm512_castsi512_ps(_mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd));
  }
}

// The parts of 2 x 16 numbers as a row of three tiles: `a` in the lower halves of the words, `b` in the upper ones.
inline void split(__m512 a, __m512 b, char* to) {
  const __m512i upper = _mm512_set1_epi32(0xffff0000);
  for (int64_t part = 0; part < PARTS; part++) {
    const __m512i low = _mm512_castps_si512(a), high = _mm512_castps_si512(b);
    const __m512i words = _mm512_ternarylogic_epi32(_mm512_srli_epi32(low, 16), high, upper, 0xf8);  // | high & upper
    _mm512_store_si512(to + part * TILE, words);
    a = _mm512_sub_ps(a, _mm512_castsi512_ps(_mm512_and_si512(low, upper)));
    b = _mm512_sub_ps(b, _mm512_castsi512_ps(_mm512_and_si512(high, upper)));
  }
}

// 16 lines (those of `lines`), 32 numbers of each (the first `depth`), as tiles: the lines are the rows of the left
// factor's tiles and the columns of the right one's; a word holds the numbers j and j + 16 along the sum. The lines' sums
// are added to `sum`, unless what is along the sum is contiguous.
template <bool LEFT, bool CONTIGUOUS, bool WHOLE>
inline void pack_tile(const float* from, int64_t between, int64_t along, __mmask16 lines, int64_t depth, char* to,
                      __m512& sum) {
  // 16 numbers from here on, those of `inner`, of the `i`th of 16 such rows, if it is one of `outer`; else 0.
  const auto load = [](const float* begin, int64_t i, __mmask16 outer, __mmask16 inner) {
    return WHOLE ? _mm512_loadu_ps(begin) : _mm512_maskz_loadu_ps(outer >> i & 1 ? inner : 0, begin);
  };
  const __mmask16 lower = first(depth), upper = first(depth - SIDE);
  __m512 a[SIDE], b[SIDE];
  for (int64_t i = 0; i < SIDE; i++) {
    if (CONTIGUOUS) {
      a[i] = load(from + i * between, i, lines, lower);
      b[i] = load(from + i * between + SIDE, i, lines, upper);
    } else {
      a[i] = load(from + i * along, i, lower, lines);
      b[i] = load(from + (i + SIDE) * along, i, upper, lines);
      sum = _mm512_add_ps(sum, _mm512_add_ps(a[i], b[i]));
    }
    if (LEFT == CONTIGUOUS) split(a[i], b[i], to + 64 * i);
  }
  if (LEFT == CONTIGUOUS) return;
  transpose(a);
  transpose(b);
  for (int64_t i = 0; i < SIDE; i++) split(a[i], b[i], to + 64 * i);
}

// `count` lines from `line` on, `depth` numbers of each from `k` on, as tiles [lines / 16][depth / 32][part]. Each line's
// sum is added to `sums`, unless that is null.
template <bool LEFT, bool CONTIGUOUS>
void pack(const Factor& x, int64_t line, int64_t count, int64_t k, int64_t depth, char* to, float* sums) {
  for (int64_t i = 0; i < count; i += SIDE) {
    const __mmask16 lines = first(count - i);
    __m512 sum = _mm512_setzero_ps();
    for (int64_t j = 0; j < depth; j += STEP, to += PARTS * TILE) {
      const float* from = x.data + (line + i) * x.between + (k + j) * x.along;
      if (count - i >= SIDE && depth - j >= STEP)
        pack_tile<LEFT, CONTIGUOUS, true>(from, x.between, x.along, lines, STEP, to, sum);
      else
        pack_tile<LEFT, CONTIGUOUS, false>(from, x.between, x.along, lines, depth - j, to, sum);
    }
    if (!sums) continue;
    const __m512 before = _mm512_maskz_loadu_ps(lines, sums + i);
    _mm512_mask_storeu_ps(sums + i, lines, _mm512_add_ps(before, sum));
  }
}

template <bool LEFT>
void pack(const Factor& x, int64_t line, int64_t count, int64_t k, int64_t depth, char* to, float* sums = nullptr) {
  (x.along == 1 ? pack<LEFT, true> : pack<LEFT, false>)(x, line, count, k, depth, to, sums);
}

// 2 x 2 tiles of sums (1 where there is only one), to which `steps` x 32 products are added: tiles 0 to 3 hold the sums,
// 4 and 5 parts of the left factor, 6 and 7 of the right one. The smallest products come first.
template <bool TALL, bool WIDE>
void add_products(const char* left, const char* right, int64_t steps, char* sums, bool fresh) {
  if (fresh) {
    _tile_zero(0);
    if (WIDE) _tile_zero(1);
    if (TALL) _tile_zero(2);
    if (TALL && WIDE) _tile_zero(3);
  } else {
    _tile_loadd(0, sums, 64);
    if (WIDE) _tile_loadd(1, sums + TILE, 64);
    if (TALL) _tile_loadd(2, sums + 2 * TILE, 64);
    if (TALL && WIDE) _tile_loadd(3, sums + 3 * TILE, 64);
  }
  const char *lower = left + steps * PARTS * TILE, *beside = right + steps * PARTS * TILE;
  for (int64_t step = 0; step < steps; step++) {
#define LEFT(part)                          \
  _tile_loadd(4, left + (part) * TILE, 64); \
  if (TALL) _tile_loadd(5, lower + (part) * TILE, 64);
#define RIGHT(part)                          \
  _tile_loadd(6, right + (part) * TILE, 64); \
  if (WIDE) _tile_loadd(7, beside + (part) * TILE, 64);
#define MULTIPLY                     \
  _tile_dpbf16ps(0, 4, 6);           \
  if (WIDE) _tile_dpbf16ps(1, 4, 7); \
  if (TALL) _tile_dpbf16ps(2, 5, 6); \
  if (TALL && WIDE) _tile_dpbf16ps(3, 5, 7);
    LEFT(2) RIGHT(0) MULTIPLY
    LEFT(1) MULTIPLY
    RIGHT(1) MULTIPLY
    LEFT(0) MULTIPLY
    RIGHT(2) MULTIPLY
    RIGHT(0) MULTIPLY
#undef LEFT
#undef RIGHT
#undef MULTIPLY
    left += PARTS * TILE, lower += PARTS * TILE, right += PARTS * TILE, beside += PARTS * TILE;
  }
  _tile_stored(0, sums, 64);
  if (WIDE) _tile_stored(1, sums + TILE, 64);
  if (TALL) _tile_stored(2, sums + 2 * TILE, 64);
  if (TALL && WIDE) _tile_stored(3, sums + 3 * TILE, 64);
}

// Where sums go, and what becomes of them.
struct Output {
  float* data;
  int64_t columns;
  enum { LAYER, GATED, SUMS } kind = SUMS;
  // LAYER: `+ bias` of each column, at least `least`, times `kept` unless it is null.
  const float* bias = nullptr;
  float least = -std::numeric_limits<float>::infinity();
  const float* kept = nullptr;
  // GATED: 0 where `gate` is not above 0.
  const float* gate = nullptr;
  // SUMS: added to what is there, or not.
  bool add = false;
};

template <int KIND>
void finish(const Output& out, __m512 value, __m512 bias, int64_t place, __mmask16 lanes) {
  if (KIND == Output::LAYER) {
    value = _mm512_max_ps(_mm512_set1_ps(out.least), _mm512_add_ps(value, bias));  // NaN stays NaN
    if (out.kept) value = _mm512_mul_ps(value, _mm512_maskz_loadu_ps(lanes, out.kept + place));
  } else if (KIND == Output::GATED) {
    const __m512 gate = _mm512_maskz_loadu_ps(lanes, out.gate + place);
    value = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(gate, _mm512_setzero_ps(), _CMP_NLE_UQ), value);
  } else if (out.add) {
    value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(lanes, out.data + place));
  }
  _mm512_mask_storeu_ps(out.data + place, lanes, value);
}

template <int KIND>
void write(const Output& out, const char* sums, int64_t row, int64_t rows, int64_t column, int64_t columns) {
  for (int64_t half = 0; half * SIDE < columns; half++) {
    const int64_t c = column + half * SIDE;
    const __mmask16 lanes = first(columns - half * SIDE);
    const __m512 bias = KIND == Output::LAYER ? _mm512_maskz_loadu_ps(lanes, out.bias + c) : _mm512_setzero_ps();
    for (int64_t r = 0; r < rows; r++) {
      const __m512 sum = _mm512_load_ps(sums + (2 * (r / SIDE) + half) * TILE + r % SIDE * 64);
      finish<KIND>(out, sum, bias, (row + r) * out.columns + c, lanes);
    }
  }
}

// left @ right, [left.size, right.size], summed over `depth`; the sums of the right factor's lines are added to
// `line_sums`, unless it is null.
void multiply(const Factor& left, const Factor& right, int64_t depth, const Output& out, float* line_sums) {
  char* const of_left = workspace();
  char* const of_right = of_left + LONGEST * DEPTH * 2 * PARTS;
  char* const sums = of_right + STEP * DEPTH * 2 * PARTS;
  const int64_t wide = std::min(tiles(right.size + SIDE) / 2 * STEP, LONGEST);
  const int64_t tall = std::min(OUTPUTS / wide / STEP * STEP, LONGEST);
  for (int64_t column = 0; column < right.size; column += wide)
    for (int64_t row = 0; row < left.size; row += tall) {
      const int64_t rows = std::min(tall, left.size - row), columns = std::min(wide, right.size - column);
      for (int64_t k = 0; k < depth; k += DEPTH) {
        const int64_t sum = std::min(DEPTH, depth - k), steps = (sum + STEP - 1) / STEP, line = steps * PARTS * TILE;
        const bool last = k + DEPTH >= depth;
        pack<true>(left, row, rows, k, sum, of_left);
        for (int64_t c = 0; c < columns; c += STEP) {
          float* const to_sums = line_sums && row == 0 ? line_sums + column + c : nullptr;
          pack<false>(right, column + c, std::min(STEP, columns - c), k, sum, of_right, to_sums);
          for (int64_t r = 0; r < rows; r += STEP) {
            const char* a = of_left + r / SIDE * line;
            char* const to = depth <= DEPTH ? sums : sums + (c / STEP * (tall / STEP) + r / STEP) * 4 * TILE;
            const bool two_rows = rows - r > SIDE, two_columns = columns - c > SIDE;
            if (two_rows && two_columns)
              add_products<true, true>(a, of_right, steps, to, k == 0);
            else if (two_rows)
              add_products<true, false>(a, of_right, steps, to, k == 0);
            else if (two_columns)
              add_products<false, true>(a, of_right, steps, to, k == 0);
            else
              add_products<false, false>(a, of_right, steps, to, k == 0);
            if (!last) continue;
            const auto writes = out.kind == Output::LAYER   ? write<Output::LAYER>
                                : out.kind == Output::GATED ? write<Output::GATED>
                                                            : write<Output::SUMS>;
            writes(out, to, row + r, std::min(STEP, rows - r), column + c, std::min(STEP, columns - c));
          }
        }
      }
    }
}

// Numbers in rows, as a tensor's member holds them.
struct Rows {
  const float* data;
  int64_t count, width, between;

  Rows(const Tensor& x, int64_t member)
      : data(x.const_data_ptr<float>() + member * x.stride(0)),
        count(x.size(1)),
        width(x.size(2)),
        between(x.size(1) == 1 ? x.size(2) : x.stride(1)) {}  // of a single row the stride may be anything
  Rows(const float* data, int64_t count, int64_t width) : data(data), count(count), width(width), between(width) {}

  Rows part(int64_t begin, int64_t length) const {
    Rows rows = *this;
    rows.data += begin * between;
    rows.count = std::min(length, count - begin);
    return rows;
  }
};

// A layer's weights, [in, out], either way round.
struct Weight {
  const float* data;
  int64_t in, out, down, across;

  Weight(const Tensor& w, int64_t member)
      : data(w.const_data_ptr<float>() + member * w.stride(0)),
        in(w.size(1)),
        out(w.size(2)),
        down(w.stride(1)),
        across(w.stride(2)) {}

  bool column() const { return out == 1 && down == 1; }  // there is no product of matrices with it
};

float dot(const float* a, const float* b, int64_t size) {
  __m512 sum = _mm512_setzero_ps();
  for (int64_t i = 0; i < size; i += SIDE) {
    const __mmask16 lanes = first(size - i);
    sum = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(lanes, a + i), _mm512_maskz_loadu_ps(lanes, b + i), sum);
  }
  return _mm512_reduce_add_ps(sum);
}

// x @ weight
void forward(const Rows& x, const Weight& weight, const Output& out) {
  if (!weight.column())
    return multiply({x.data, x.count, x.between, 1}, {weight.data, weight.out, weight.across, weight.down}, x.width,
                    out, nullptr);
  const __m512 bias = _mm512_set1_ps(out.bias[0]);
  for (int64_t r = 0; r < x.count; r++)
    finish<Output::LAYER>(out, _mm512_set1_ps(dot(x.data + r * x.between, weight.data, x.width)), bias, r, 1);
}

// The products of a column of gradients and a column of weights.
template <int KIND>
void outer(const Rows& grad, const Weight& weight, const Output& out) {
  for (int64_t r = 0; r < grad.count; r++) {
    const __m512 by = _mm512_set1_ps(grad.data[r * grad.between]);
    for (int64_t c = 0; c < weight.in; c += SIDE) {
      const __mmask16 lanes = first(weight.in - c);
      const __m512 value = _mm512_mul_ps(by, _mm512_maskz_loadu_ps(lanes, weight.data + c));
      finish<KIND>(out, value, _mm512_setzero_ps(), r * weight.in + c, lanes);
    }
  }
}

// grad @ weight.mT
void to_input(const Rows& grad, const Weight& weight, const Output& out) {
  if (!weight.column())
    multiply({grad.data, grad.count, grad.between, 1}, {weight.data, weight.in, weight.down, weight.across}, grad.width,
             out, nullptr);
  else if (out.kind == Output::GATED)
    outer<Output::GATED>(grad, weight, out);
  else
    outer<Output::SUMS>(grad, weight, out);
}

// x.mT @ grad, and the sums of grad, added to what is there or not.
void to_parameters(const Rows& x, const Rows& grad, float* weight, float* bias, bool add) {
  if (!add) std::fill_n(bias, grad.width, 0.0f);
  if (grad.width > 1) {
    Output out{weight, grad.width};
    out.add = add;
    return multiply({x.data, x.width, 1, x.between}, {grad.data, grad.width, 1, grad.between}, x.count, out, bias);
  }
  if (!add) std::fill_n(weight, x.width, 0.0f);
  for (int64_t r = 0; r < x.count; r++) {
    const float by = grad.data[r * grad.between];
    bias[0] += by;
    for (int64_t i = 0; i < x.width; i += SIDE) {
      const __mmask16 lanes = first(x.width - i);
      const __m512 value = _mm512_maskz_loadu_ps(lanes, x.data + r * x.between + i);
      const __m512 sum = _mm512_fmadd_ps(_mm512_set1_ps(by), value, _mm512_maskz_loadu_ps(lanes, weight + i));
      _mm512_mask_storeu_ps(weight + i, lanes, sum);
    }
  }
}

Tensor in_rows(const Tensor& x) { return x.stride(2) == 1 || x.size(2) == 1 ? x : x.contiguous(); }

Tensor either_way(const Tensor& w) { return w.stride(1) == 1 || w.stride(2) == 1 ? w : w.contiguous(); }

float* member(Tensor& x, int64_t i) { return x.mutable_data_ptr<float>() + i * x.size(1) * x.size(2); }

// A copy: `PAST_CACHE` into memory that is not needed soon, and need not come into the cache to be written.
template <bool PAST_CACHE>
float* copy(const float* from, int64_t count, float* to) {
  const bool aligned = reinterpret_cast<uintptr_t>(to) % 64 == 0;
  for (int64_t i = 0; i < count; i += SIDE) {
    const __mmask16 lanes = first(count - i);
    const __m512 values = _mm512_maskz_loadu_ps(lanes, from + i);
    if (PAST_CACHE && aligned && count - i >= SIDE)
      _mm512_stream_ps(to + i, values);
    else
      _mm512_mask_storeu_ps(to + i, lanes, values);
  }
  if (PAST_CACHE) _mm_sfence();
  return to;
}

// While this lives the processor's tiles are in use.
struct Tiles {
  Tiles() {
    struct {
      uint8_t palette = 1, rest[15] = {};
      uint16_t bytes[16] = {};
      uint8_t rows[16] = {};
    } shape;
    std::fill_n(shape.bytes, 8, 64);
    std::fill_n(shape.rows, 8, SIDE);
    _tile_loadconfig(&shape);
  }
  ~Tiles() { _tile_release(); }
};

// x @ weight + bias: [N, B, in], [N, in, out], [N, 1, out] to [N, B, out].
Tensor linear(const Tensor& input, const Tensor& weights, const Tensor& biases) {
  const Tensor x = in_rows(input), w = either_way(weights), bias = biases.contiguous();
  Tensor result = at::empty({x.size(0), x.size(1), w.size(2)}, x.options());
  const Tiles tiles;
  for (int64_t i = 0; i < x.size(0); i++)
    forward({x, i}, {w, i},
            {member(result, i), w.size(2), Output::LAYER, bias.const_data_ptr<float>() + i * w.size(2)});
  return result;
}

// The gradient of a layer's input: [N, B, out], [N, in, out] to [N, B, in].
Tensor input_gradient(const Tensor& gradient, const Tensor& weights) {
  const Tensor grad = in_rows(gradient), w = either_way(weights);
  Tensor result = at::empty({grad.size(0), grad.size(1), w.size(1)}, grad.options());
  const Tiles tiles;
  for (int64_t i = 0; i < grad.size(0); i++) to_input({grad, i}, {w, i}, {member(result, i), w.size(1)});
  return result;
}

// The gradients of a layer's weight and bias: [N, B, in], [N, B, out] to [N, in, out] and [N, 1, out].
std::tuple<Tensor, Tensor> parameter_gradients(const Tensor& input, const Tensor& gradient) {
  const Tensor x = in_rows(input), grad = in_rows(gradient);
  Tensor of_weight = at::empty({x.size(0), x.size(2), grad.size(2)}, x.options());
  Tensor of_bias = at::empty({x.size(0), 1, grad.size(2)}, x.options());
  const Tiles tiles;
  for (int64_t i = 0; i < x.size(0); i++)
    to_parameters({x, i}, {grad, i}, member(of_weight, i), member(of_bias, i), false);
  return {of_weight, of_bias};
}

// The layers of a stack, Linear, ReLU, ..., Linear, and which units of each hidden one are kept (none named: all).
struct Layers {
  int64_t depth, widest = 0;
  std::vector<Tensor> weights, biases, kept;

  Layers(at::TensorList parameters, at::TensorList masks) : depth(parameters.size() / 2) {
    for (int64_t layer = 0; layer < depth; layer++) {
      weights.push_back(either_way(parameters[2 * layer]));
      biases.push_back(parameters[2 * layer + 1].contiguous());
      widest = std::max({widest, weights[layer].size(1), width(layer)});
    }
    for (const Tensor& mask : masks) kept.push_back(mask.contiguous());
  }

  int64_t width(int64_t layer) const { return weights[layer].size(2); }

  // A layer's output for these rows of a member, the `begin`th and those after it.
  Rows compute(int64_t layer, int64_t i, int64_t begin, const Rows& x, float* to) const {
    Output out{to, width(layer), Output::LAYER, biases[layer].const_data_ptr<float>() + i * width(layer)};
    if (layer + 1 < depth) {
      out.least = 0;
      if (!kept.empty())
        out.kept = kept[layer].const_data_ptr<float>() + (i * kept[layer].size(1) + begin) * width(layer);
    }
    forward(x, {weights[layer], i}, out);
    return {to, x.count, width(layer)};
  }
};

// The output of a stack, [N, B, out], for weight and bias of each layer and masks [N, B, width]; before it the hidden
// layers, if `keep`. Each member's rows go through all layers in parts, so that they stay in the cache.
std::vector<Tensor> relu_stack(const Tensor& input, at::TensorList kept, at::TensorList parameters, bool keep) {
  const Tensor x = in_rows(input);
  const Layers layers(parameters, kept);
  const int64_t n = x.size(0), rows = x.size(1);
  std::vector<Tensor> outputs;
  for (int64_t layer = keep ? 0 : layers.depth - 1; layer < layers.depth; layer++)
    outputs.push_back(at::empty({n, rows, layers.width(layer)}, x.options()));
  Tensor between = at::empty({2, std::min(rows, PART), layers.widest}, x.options());
  const Tiles tiles;
  for (int64_t i = 0; i < n; i++)
    for (int64_t begin = 0; begin < rows; begin += PART) {
      Rows now = Rows(x, i).part(begin, PART);
      for (int64_t layer = 0; layer < layers.depth; layer++) {
        const bool last = layer + 1 == layers.depth, aside = keep && !last && rows > PART;
        float* const stays_in =
            keep || last ? member(outputs[keep ? layer : 0], i) + begin * layers.width(layer) : nullptr;
        now = layers.compute(layer, i, begin, now, stays_in && !aside ? stays_in : member(between, layer % 2));
        if (aside) copy<true>(now.data, now.count * now.width, stays_in);
      }
    }
  return outputs;
}

// The gradients of the stack's input, if `of_input` (else of no size), and then of each weight and bias, if
// `of_parameters`.
std::vector<Tensor> relu_stack_gradients(const Tensor& gradient, const Tensor& input, at::TensorList hidden,
                                         at::TensorList parameters, bool of_input, bool of_parameters) {
  const Tensor x = in_rows(input), grad = in_rows(gradient);
  const Layers layers(parameters, {});
  const int64_t n = x.size(0), rows = x.size(1), depth = layers.depth;
  std::vector<Tensor> units, grads{at::empty(of_input ? x.sizes() : at::IntArrayRef{0}, x.options())};
  for (const Tensor& each : hidden) units.push_back(each.contiguous());
  for (int64_t layer = 0; of_parameters && layer < depth; layer++) {
    grads.push_back(at::empty(layers.weights[layer].sizes(), x.options()));
    grads.push_back(at::empty(layers.biases[layer].sizes(), x.options()));
  }
  Tensor between = at::empty({3, std::min(rows, PART), layers.widest}, x.options());
  // Read in order, memory arrives sooner than in the order in which it is packed.
  const bool far = n * rows * layers.widest * (depth - 1) * int64_t{sizeof(float)} > CACHE;
  const Tiles tiles;
  for (int64_t i = 0; i < n; i++)
    for (int64_t begin = 0; begin < rows; begin += PART) {
      Rows now = Rows(grad, i).part(begin, PART);
      for (int64_t layer = depth - 1; layer >= 0; layer--) {
        Rows before = Rows(layer ? units[layer - 1] : x, i).part(begin, PART);
        if (far && layer) before.data = copy<false>(before.data, before.count * before.width, member(between, 2));
        if (of_parameters)
          to_parameters(before, now, member(grads[2 * layer + 1], i), member(grads[2 * layer + 2], i), begin > 0);
        if (layer == 0 && !of_input) break;
        Output out{layer ? member(between, layer % 2) : member(grads[0], i) + begin * before.width, before.width};
        if (layer) out.kind = Output::GATED, out.gate = before.data;
        to_input(now, {layers.weights[layer], i}, out);
        now = {out.data, now.count, before.width};
      }
    }
  return grads;
}

// Linux lets a process use the tiles once it has asked for them.
bool permitted() { return syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */) == 0; }

}  // namespace

TORCH_LIBRARY(rlbench_amx, library) {
  library.def("permitted() -> bool", &permitted);
  library.def("linear(Tensor x, Tensor weight, Tensor bias) -> Tensor");
  library.def("input_gradient(Tensor grad, Tensor weight) -> Tensor");
  library.def("parameter_gradients(Tensor x, Tensor grad) -> (Tensor, Tensor)");
  library.def("relu_stack(Tensor x, Tensor[] kept, Tensor[] layers, bool keep) -> Tensor[]");
  library.def(
      "relu_stack_gradients(Tensor grad, Tensor x, Tensor[] hidden, Tensor[] layers, bool of_input, bool of_parameters)"
      " -> Tensor[]");
}

TORCH_LIBRARY_IMPL(rlbench_amx, CPU, library) {
  library.impl("linear", &linear);
  library.impl("input_gradient", &input_gradient);
  library.impl("parameter_gradients", &parameter_gradients);
  library.impl("relu_stack", &relu_stack);
  library.impl("relu_stack_gradients", &relu_stack_gradients);
}
