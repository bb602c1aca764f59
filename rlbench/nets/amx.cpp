// Products of float32 matrices on Intel's matrix units (AMX), which multiply in bfloat16 and add in float32.
//
// A float32 number has 24 binary digits, a bfloat16 number 8: the sum of three of these, the number cut off after eight
// digits, the rest cut off likewise, and what is left then, is the number itself. Of the nine products of two such sums
// the six largest are computed, which leaves an error of some 1e-7, as products in float32 do (Henry, Tang and Heinecke,
// "Leveraging the bfloat16 Artificial Intelligence Datatype For Higher-Precision Computations", ARITH 2019).
//
// What follows a product in a layer, and the sums beside it, are done while its numbers are at hand; what came before
// is written, and what comes next made ready, while the matrix unit multiplies. Everything runs in the thread that
// calls. An infinite factor makes NaN, not infinity.

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/util/string_view.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <torch/library.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
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
// So few rows, those of a policy that acts, are multiplied before weights would be tiles.
constexpr int64_t FEW = 4;
// Layers whose weights are kept as tiles while one part after another is multiplied by them.
constexpr int64_t READY = 4;

int64_t tiles(int64_t size) { return (size + SIDE - 1) / SIDE; }

__mmask16 first(int64_t lanes) { return lanes >= SIDE ? 0xffff : lanes > 0 ? (1u << lanes) - 1 : 0; }

// Memory of this thread.
struct Workspace {
  static constexpr int64_t LINE = DEPTH * 2 * PARTS;  // bytes of a line's numbers, in parts
  alignas(4096) char inner[LONGEST * LINE];           // the tiles of a product's factors
  char outer[2 * STEP * LINE];
  char sums[OUTPUTS * sizeof(float)];
  char layers[2][PART * LINE];  // rows between two layers, as the next one's tiles
  char weights[READY][DEPTH * LINE];
};

Workspace& workspace() {
  static thread_local const auto memory = std::make_unique_for_overwrite<Workspace>();
  return *memory;
}

// One factor of a product: `size` lines, whose numbers along the sum are `along` apart; one of the strides is 1. It may
// be `packed` already, if it has `DEPTH` lines and as many numbers in each at most.
struct Factor {
  const float* data;
  int64_t size, between, along;
  const char* packed = nullptr;
};

// The first numbers of 16 lines, the second ones, the third and the fourth; `load` gives a line's four.
template <typename Load>
inline void turn(const Load& load, __m512 to[4]) {
  __m512 x[4];
  for (int i = 0; i < 4; i++) {
    x[i] = _mm512_castps128_ps512(load(i));
    x[i] = _mm512_insertf32x4(x[i], load(4 + i), 1);
    x[i] = _mm512_insertf32x4(x[i], load(8 + i), 2);
    x[i] = _mm512_insertf32x4(x[i], load(12 + i), 3);
  }
  const __m512 a = _mm512_unpacklo_ps(x[0], x[1]), b = _mm512_unpackhi_ps(x[0], x[1]);
  const __m512 c = _mm512_unpacklo_ps(x[2], x[3]), d = _mm512_unpackhi_ps(x[2], x[3]);
  to[0] = _mm512_shuffle_ps(a, c, 0x44);
  to[1] = _mm512_shuffle_ps(a, c, 0xee);
  to[2] = _mm512_shuffle_ps(b, d, 0x44);
  to[3] = _mm512_shuffle_ps(b, d, 0xee);
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

// 16 lines (those of `lines`), 32 numbers of each (the first `depth`).
struct Lines {
  const float* from;
  int64_t between, along, depth;
  __mmask16 lines;
};

// Rows of the tiles of such lines: the lines are the rows of the left factor's tiles and the columns of the right
// one's; a word holds the numbers j and j + 16 along the sum. Where they lie the other way round in memory, four rows
// are brought into `turned` with the first of them. Returns `sum` plus the lines' sums, of columns that lie that way.
template <bool LEFT, bool CONTIGUOUS, bool WHOLE>
__m512 pack_rows(const Lines& x, int64_t row, int64_t end, char* to, __m512 turned[8], __m512 sum) {
  const __mmask16 depth[2] = {first(x.depth), first(x.depth - SIDE)};
  // Where the `i`th of 16 rows begins in memory, and which of its 16 numbers there are.
  const auto begin = [&](int64_t i, int64_t half) {
    return x.from + (CONTIGUOUS ? i * x.between + half * SIDE : (i + half * SIDE) * x.along);
  };
  const auto there = [&](int64_t i, int64_t half) -> __mmask16 {
    const __mmask16 rows = CONTIGUOUS ? x.lines : depth[half], numbers = CONTIGUOUS ? depth[half] : x.lines;
    return rows >> i & 1 ? numbers : 0;
  };
  const auto load = [&](int64_t i, int64_t half) {
    return WHOLE ? _mm512_loadu_ps(begin(i, half)) : _mm512_maskz_loadu_ps(there(i, half), begin(i, half));
  };
  for (; row < end; row++) {
    __m512 a, b;
    if (LEFT == CONTIGUOUS) {
      a = load(row, 0), b = load(row, 1);
      if (!LEFT) sum = _mm512_add_ps(sum, _mm512_add_ps(a, b));
    } else {
      for (int64_t half = 0; half < 2 && row % 4 == 0; half++) {
        const auto load_four = [&](int64_t i) {
          const float* const four = begin(i, half) + row;
          return WHOLE ? _mm_loadu_ps(four) : _mm_maskz_loadu_ps(there(i, half) >> row & 0xf, four);
        };
        turn(load_four, turned + 4 * half);
      }
      a = turned[row % 4], b = turned[4 + row % 4];
    }
    split(a, b, to + 64 * row);
  }
  return sum;
}

// Lines of a factor on their way into tiles, [lines / 16][depth / 32][part].
class Packing {
 public:
  // `count` lines from `line` on, `depth` numbers of each from `k` on. After `ring` tiles the next one is where the
  // first one was. Each line's sum is added to `sums`, unless that is null.
  Packing(const Factor& x, bool left, int64_t line, int64_t count, int64_t k, int64_t depth, char* to, int64_t ring,
          float* sums)
      : begin_(x.data + line * x.between + k * x.along),
        count_(count),
        depth_(depth),
        to_(to),
        ring_(ring),
        sums_(sums),
        whole_(choose<true>(left, x.along == 1)),
        partial_(choose<false>(left, x.along == 1)),
        now_{nullptr, x.between, x.along, 0, 0} {
    turn_to_next();
  }

  // How many tiles are done.
  int64_t tiles() const { return tiles_; }

  // A row of a tile more.
  void row() {
    sum_ = pack_(now_, row_, row_ + 1, tile_, turned_, sum_);
    if (++row_ == SIDE) finish();
  }

  // What is left until so many tiles are done.
  void until(int64_t count) {
    while (tiles_ < count) {
      sum_ = pack_(now_, row_, SIDE, tile_, turned_, sum_);
      finish();
    }
  }

 private:
  using Pack = __m512 (*)(const Lines&, int64_t, int64_t, char*, __m512*, __m512);

  template <bool WHOLE>
  static Pack choose(bool left, bool contiguous) {
    if (left) return contiguous ? pack_rows<true, true, WHOLE> : pack_rows<true, false, WHOLE>;
    return contiguous ? pack_rows<false, true, WHOLE> : pack_rows<false, false, WHOLE>;
  }

  void finish() {
    row_ = 0, tiles_++, k_ += STEP;
    if (k_ >= depth_) {
      if (sums_) {
        const __m512 before = _mm512_maskz_loadu_ps(now_.lines, sums_ + line_);
        _mm512_mask_storeu_ps(sums_ + line_, now_.lines, _mm512_add_ps(before, sum_));
      }
      sum_ = _mm512_setzero_ps();
      line_ += SIDE, k_ = 0;
    }
    turn_to_next();
  }

  void turn_to_next() {
    now_.from = begin_ + line_ * now_.between + k_ * now_.along;
    now_.depth = depth_ - k_;
    now_.lines = first(count_ - line_);
    pack_ = count_ - line_ >= SIDE && now_.depth >= STEP ? whole_ : partial_;
    tile_ = to_ + tiles_ % ring_ * PARTS * TILE;
  }

  __m512 turned_[8], sum_ = _mm512_setzero_ps();
  const float* begin_;
  int64_t count_, depth_;
  char* to_;
  int64_t ring_;
  float* sums_;
  Pack whole_, partial_, pack_;
  Lines now_;
  char* tile_;
  int64_t line_ = 0, k_ = 0, row_ = 0, tiles_ = 0;
};

// Where sums go, and what becomes of them.
struct Output {
  float* data;
  int64_t columns;
  enum { LAYER, GATED, SUMS } kind = SUMS;
  // LAYER: `+ bias` of each column, at least `least`, times `kept` unless it is null.
  const float* bias = nullptr;
  float least = -std::numeric_limits<float>::infinity();
  const float* kept = nullptr;
  // GATED: 0 where `gate` is not above 0, or where `gates` has no bit.
  const float* gate = nullptr;
  __mmask16* gates = nullptr;  // a bit for each column, in words of 16; LAYER writes them, unless it is null
  // SUMS: added to what is there, or not.
  bool add = false;
  // Unless null, where they go as tiles of the next product's left factor, of at most `DEPTH` columns; `data` may be
  // null then.
  char* packed = nullptr;
  // Whether `data`, aligned and of whole words of 16 then, goes past the cache.
  bool past_cache = false;
};

// Whether numbers are above 0, or NaN.
__mmask16 above_0(__m512 x) { return _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_NLE_UQ); }

template <int KIND>
__m512 finish(const Output& out, __m512 value, __m512 bias, int64_t row, int64_t column, __mmask16 lanes) {
  const int64_t place = row * out.columns + column, word = row * tiles(out.columns) + column / SIDE;
  if (KIND == Output::LAYER) {
    value = _mm512_max_ps(_mm512_set1_ps(out.least), _mm512_add_ps(value, bias));  // NaN stays NaN
    if (out.kept) value = _mm512_mul_ps(value, _mm512_maskz_loadu_ps(lanes, out.kept + place));
    if (out.gates) out.gates[word] = above_0(value);
  } else if (KIND == Output::GATED) {
    const __mmask16 open = out.gates ? out.gates[word] : above_0(_mm512_maskz_loadu_ps(lanes, out.gate + place));
    value = _mm512_maskz_mov_ps(open, value);
  } else if (out.add) {
    value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(lanes, out.data + place));
  }
  if (out.past_cache)
    _mm512_stream_ps(out.data + place, value);
  else if (out.data)
    _mm512_mask_storeu_ps(out.data + place, lanes, value);
  return value;
}

// Rows of a block of sums.
template <int KIND>
void write_rows(const Output& out, const char* sums, int64_t begin, int64_t end, int64_t row, int64_t column,
                int64_t columns) {
  const __mmask16 lower = first(columns), upper = first(columns - SIDE);
  __m512 biases[2] = {};
  if (KIND == Output::LAYER) {
    biases[0] = _mm512_maskz_loadu_ps(lower, out.bias + column);
    biases[1] = _mm512_maskz_loadu_ps(upper, out.bias + column + SIDE);
  }
  for (int64_t r = begin; r < end; r++) {
    const char* const from = sums + r / SIDE * 2 * TILE + r % SIDE * 64;
    const __m512 a = finish<KIND>(out, _mm512_load_ps(from), biases[0], row + r, column, lower);
    __m512 b = _mm512_setzero_ps();
    if (upper) b = finish<KIND>(out, _mm512_load_ps(from + TILE), biases[1], row + r, column + SIDE, upper);
    if (!out.packed) continue;
    const int64_t steps = (out.columns + STEP - 1) / STEP, tile = (row + r) / SIDE * steps + column / STEP;
    split(a, b, out.packed + tile * PARTS * TILE + r % SIDE * 64);
  }
}

// A block of sums, 32 x 32 at most, on its way to where it goes.
class Writing {
 public:
  Writing() = default;
  Writing(const Output& out, const char* sums, int64_t row, int64_t rows, int64_t column, int64_t columns)
      : out_(&out), sums_(sums), row_(row), rows_(rows), column_(column), columns_(columns) {
    write_ = out.kind == Output::LAYER   ? write_rows<Output::LAYER>
             : out.kind == Output::GATED ? write_rows<Output::GATED>
                                         : write_rows<Output::SUMS>;
  }

  bool done() const { return done_ == rows_; }

  // So many rows more.
  void rows(int64_t count) {
    const int64_t end = std::min(done_ + count, rows_);
    write_(*out_, sums_, done_, end, row_, column_, columns_);
    done_ = end;
  }

  // All that are left.
  void finish() {
    if (!done()) rows(rows_);
  }

 private:
  const Output* out_;
  void (*write_)(const Output&, const char*, int64_t, int64_t, int64_t, int64_t, int64_t);
  const char* sums_;
  int64_t row_, rows_ = 0, done_ = 0, column_, columns_;
};

// What is done while the matrix unit multiplies a block: what came before is written, what comes next is packed.
struct Meanwhile {
  Packing packing;
  int64_t at_once;    // rows to be written
  int64_t tiles = 0;  // to be packed by now
  Writing writing;

  void rows() {
    if (!writing.done())
      writing.rows(at_once);
    else if (packing.tiles() < tiles)
      packing.row();
  }
};

// 2 x 2 tiles of sums (1 where there is only one), to which `steps` x 32 products are added: tiles 0 to 3 hold the sums,
// 4 and 5 parts of the left factor, 6 and 7 of the right one. The smallest products come first. What is done meanwhile
// comes after every third of them, a row or two at a time: the processor is only a dozen of them ahead, so that they wait
// for anything that takes longer, and for more rows than it can store.
template <bool TALL, bool WIDE>
void add_products(const char* left, const char* right, int64_t steps, char* sums, bool fresh, Meanwhile& meanwhile) {
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
#define MULTIPLY(first, second, third, fourth) \
  _tile_dpbf16ps(0, 4, 6);                     \
  first;                                       \
  if (WIDE) _tile_dpbf16ps(1, 4, 7);           \
  second;                                      \
  if (TALL) _tile_dpbf16ps(2, 5, 6);           \
  third;                                       \
  if (TALL && WIDE) _tile_dpbf16ps(3, 5, 7);   \
  fourth;
#define ROWS meanwhile.rows()
    LEFT(2) RIGHT(0) MULTIPLY(ROWS, , , ROWS)
    LEFT(1) MULTIPLY(, , ROWS, )
    RIGHT(1) MULTIPLY(, ROWS, , )
    LEFT(0) MULTIPLY(ROWS, , , ROWS)
    RIGHT(2) MULTIPLY(, , ROWS, )
    RIGHT(0) MULTIPLY(, ROWS, , )
#undef ROWS
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

// left @ right, [left.size, right.size], summed over `depth`; the sums of the right factor's lines are added to
// `line_sums`, unless it is null.
//
// One factor, the inner one, is packed as a whole before it is multiplied, or was before; the other, which is that whose
// lines have to be turned if there is one, 32 lines at a time, while the 32 before them are multiplied.
void multiply(const Factor& left, const Factor& right, int64_t depth, const Output& out, float* line_sums) {
  Workspace& memory = workspace();
  const bool left_inside = left.packed || (left.along == 1 && !right.packed);
  const Factor &inner = left_inside ? left : right, &outer = left_inside ? right : left;
  const int64_t longest = std::min(tiles(inner.size + SIDE) / 2 * STEP, LONGEST);
  const int64_t most = std::min(OUTPUTS / longest / STEP * STEP, LONGEST);
  for (int64_t first_i = 0; first_i < inner.size; first_i += longest)
    for (int64_t first_o = 0; first_o < outer.size; first_o += most) {
      const int64_t inners = std::min(longest, inner.size - first_i), outers = std::min(most, outer.size - first_o);
      float* const sums_i = line_sums && !left_inside && first_o == 0 ? line_sums + first_i : nullptr;
      float* const sums_o = line_sums && left_inside && first_i == 0 ? line_sums + first_o : nullptr;
      for (int64_t k = 0; k < depth; k += DEPTH) {
        const int64_t sum = std::min(DEPTH, depth - k), steps = (sum + STEP - 1) / STEP, block = 2 * steps;
        const int64_t tiles_i = tiles(inners) * steps, tiles_o = outer.packed ? 0 : tiles(outers) * steps;
        if (!inner.packed)
          Packing(inner, left_inside, first_i, inners, k, sum, memory.inner, tiles_i, sums_i).until(tiles_i);
        const char* const packed = inner.packed ? inner.packed : memory.inner;
        Packing packing(outer, !left_inside, first_o, outers, k, sum, memory.outer, 2 * block, sums_o);
        Meanwhile meanwhile{packing, steps > 2 ? 1 : 2};  // of 64 products a unit there are too few for a row each time
        for (int64_t o = 0; o < outers; o += STEP) {
          meanwhile.tiles = std::min(o / STEP * block + block, tiles_o);
          meanwhile.packing.until(meanwhile.tiles);
          meanwhile.tiles = std::min(meanwhile.tiles + block, tiles_o);
          for (int64_t i = 0; i < inners; i += STEP) {
            const char* const of_i = packed + i / STEP * block * PARTS * TILE;
            const char* const of_o = outer.packed ? outer.packed + o / STEP * block * PARTS * TILE
                                                  : memory.outer + o / STEP % 2 * block * PARTS * TILE;
            const int64_t rows = std::min(STEP, left_inside ? inners - i : outers - o);
            const int64_t columns = std::min(STEP, left_inside ? outers - o : inners - i);
            const int64_t place = o / STEP * ((inners + STEP - 1) / STEP) + i / STEP;
            char* const to = memory.sums + (depth > DEPTH ? place : place % 2) * 4 * TILE;
            const auto add = rows > SIDE ? columns > SIDE ? add_products<true, true> : add_products<true, false>
                             : columns > SIDE ? add_products<false, true> : add_products<false, false>;
            add(left_inside ? of_i : of_o, left_inside ? of_o : of_i, steps, to, k == 0, meanwhile);
            meanwhile.writing.finish();
            if (k + DEPTH < depth) continue;
            const int64_t row = left_inside ? first_i + i : first_o + o;
            const int64_t column = left_inside ? first_o + o : first_i + i;
            meanwhile.writing = {out, to, row, rows, column, columns};
          }
        }
        meanwhile.writing.finish();
      }
    }
}

// Numbers in rows, as a tensor's member holds them.
struct Rows {
  const float* data;
  int64_t count, width, between;
  const char* packed = nullptr;  // as a left factor's tiles

  Rows(const Tensor& x, int64_t member)
      : data(x.const_data_ptr<float>() + member * x.stride(0)),
        count(x.size(1)),
        width(x.size(2)),
        between(x.size(1) == 1 ? x.size(2) : x.stride(1)) {}  // of a single row the stride may be anything
  Rows(const float* data, int64_t count, int64_t width, const char* packed = nullptr)
      : data(data), count(count), width(width), between(width), packed(packed) {}

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
  const char* packed = nullptr;  // as the tiles of one of the factors below

  Weight(const Tensor& w, int64_t member)
      : data(w.const_data_ptr<float>() + member * w.stride(0)),
        in(w.size(1)),
        out(w.size(2)),
        down(w.stride(1)),
        across(w.stride(2)) {}

  bool column() const { return out == 1 && down == 1; }  // there is no product of matrices with it

  Factor right() const { return {data, out, across, down, packed}; }       // of x @ weight
  Factor turned_right() const { return {data, in, down, across, packed}; }  // of grad @ weight.mT

  // Made ready, if it can be, for a right factor of several products; false: it cannot.
  bool pack(bool turned, char* to) {
    if (column() || std::max(in, out) > DEPTH) return false;
    const Factor factor = turned ? turned_right() : right();
    const int64_t sum = turned ? out : in, count = tiles(factor.size) * ((sum + STEP - 1) / STEP);
    Packing(factor, false, 0, factor.size, 0, sum, to, count, nullptr).until(count);
    packed = to;
    return true;
  }
};

float dot(const float* a, const float* b, int64_t size) {
  __m512 sum = _mm512_setzero_ps();
  for (int64_t i = 0; i < size; i += SIDE) {
    const __mmask16 lanes = first(size - i);
    sum = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(lanes, a + i), _mm512_maskz_loadu_ps(lanes, b + i), sum);
  }
  return _mm512_reduce_add_ps(sum);
}

// A row of x times 16 columns of the weight, or a few times 16.
template <int COUNT>
void multiply_row(const Rows& x, int64_t row, const Weight& weight, int64_t column, const Output& out) {
  __mmask16 lanes[COUNT];
  __m512 sums[COUNT];
  for (int i = 0; i < COUNT; i++) lanes[i] = first(weight.out - column - i * SIDE), sums[i] = _mm512_setzero_ps();
  for (int64_t k = 0; k < x.width; k++) {
    const __m512 by = _mm512_set1_ps(x.data[row * x.between + k]);
    const float* const from = weight.data + k * weight.down + column;
    for (int i = 0; i < COUNT; i++)
      sums[i] = _mm512_fmadd_ps(by, _mm512_maskz_loadu_ps(lanes[i], from + i * SIDE), sums[i]);
  }
  for (int i = 0; i < COUNT && lanes[i]; i++) {
    const __m512 bias = _mm512_maskz_loadu_ps(lanes[i], out.bias + column + i * SIDE);
    finish<Output::LAYER>(out, sums[i], bias, row, column + i * SIDE, lanes[i]);
  }
}

// x @ weight, row by row.
void multiply_few(const Rows& x, const Weight& weight, const Output& out) {
  constexpr int WIDE = 8;
  for (int64_t row = 0; row < x.count; row++)
    for (int64_t column = 0; column < weight.out;) {
      const bool wide = weight.out - column > SIDE;
      (wide ? multiply_row<WIDE> : multiply_row<1>)(x, row, weight, column, out);
      column += wide ? WIDE * SIDE : SIDE;
    }
}

// x @ weight
void forward(const Rows& x, const Weight& weight, const Output& out) {
  if (x.count <= FEW && weight.across == 1) return multiply_few(x, weight, out);
  if (!weight.column())
    return multiply({x.data, x.count, x.between, 1, x.packed}, weight.right(), x.width, out, nullptr);
  const __m512 bias = _mm512_set1_ps(out.bias[0]);
  for (int64_t r = 0; r < x.count; r++)
    finish<Output::LAYER>(out, _mm512_set1_ps(dot(x.data + r * x.between, weight.data, x.width)), bias, r, 0, 1);
}

// The products of a column of gradients and a column of weights.
template <int KIND>
void outer(const Rows& grad, const Weight& weight, const Output& out) {
  for (int64_t r = 0; r < grad.count; r++) {
    const __m512 by = _mm512_set1_ps(grad.data[r * grad.between]);
    for (int64_t c = 0; c < weight.in; c += SIDE) {
      const __mmask16 lanes = first(weight.in - c);
      const __m512 value = _mm512_mul_ps(by, _mm512_maskz_loadu_ps(lanes, weight.data + c));
      finish<KIND>(out, value, _mm512_setzero_ps(), r, c, lanes);
    }
  }
}

// grad @ weight.mT
void to_input(const Rows& grad, const Weight& weight, const Output& out) {
  if (!weight.column())
    multiply({grad.data, grad.count, grad.between, 1, grad.packed}, weight.turned_right(), grad.width, out, nullptr);
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

// LayerNorm over each row (Ba, Kiros and Hinton, 2016), times `scale` plus `shift`, before or after a ReLU. Rows are some
// hundred numbers, which stay in the fastest cache from the first look at them to the last.
class Norm {
 public:
  Norm(const float* scale, const float* shift, int64_t width, bool before)
      : scale_(scale), shift_(shift), width_(width), before_(before) {}

  // Normalises rows, which may lie where they go, and is followed by a ReLU that it is before: numbers unless `to` is
  // null, tiles unless `packed` is null.
  void forward(const float* rows, int64_t count, float* to, char* packed) const {
    for (int64_t r = 0; r < count; r++) {
      const float* const row = rows + r * width_;
      const Standard standardised = standard(row);
      each_column(r, packed, [&](int64_t c) {
        const __mmask16 there = lanes(c);
        const __m512 x = standardised(_mm512_maskz_loadu_ps(there, row + c));
        const __m512 by = _mm512_maskz_loadu_ps(there, scale_ + c), plus = _mm512_maskz_loadu_ps(there, shift_ + c);
        __m512 value = _mm512_maskz_fmadd_ps(there, x, by, plus);
        if (before_) value = _mm512_max_ps(_mm512_setzero_ps(), value);  // NaN stays NaN
        if (to) _mm512_mask_storeu_ps(to + r * width_ + c, there, value);
        return value;
      });
    }
  }

  // The gradient of the products that `rows` came of, in place of that of what they became; as tiles too unless `packed`
  // is null. The gradients of scale and shift are added to what is there, unless that is null.
  void backward(const float* rows, int64_t count, float* grad, char* packed, float* of_scale, float* of_shift) const {
    for (int64_t r = 0; r < count; r++) {
      const float* const row = rows + r * width_;
      float* const g = grad + r * width_;
      const Standard standardised = standard(row);
      const auto arriving = [&](int64_t c, __mmask16 there, __m512 x, __m512 by) {
        const __m512 whole = _mm512_maskz_loadu_ps(there, g + c);
        if (!before_) return whole;
        const __m512 value = _mm512_fmadd_ps(x, by, _mm512_maskz_loadu_ps(there, shift_ + c));
        return _mm512_maskz_mov_ps(above_0(value), whole);
      };
      __m512 sum = _mm512_setzero_ps(), along = _mm512_setzero_ps();
      for (int64_t c = 0; c < width_; c += SIDE) {
        const __mmask16 there = lanes(c);
        const __m512 x = standardised(_mm512_maskz_loadu_ps(there, row + c));
        const __m512 by = _mm512_maskz_loadu_ps(there, scale_ + c), value = arriving(c, there, x, by);
        const __m512 product = _mm512_mul_ps(value, x);
        sum = _mm512_fmadd_ps(value, by, sum);
        along = _mm512_fmadd_ps(product, by, along);
        if (!of_scale) continue;
        const __m512 scales = _mm512_maskz_loadu_ps(there, of_scale + c);
        const __m512 shifts = _mm512_maskz_loadu_ps(there, of_shift + c);
        _mm512_mask_storeu_ps(of_scale + c, there, _mm512_add_ps(scales, product));
        _mm512_mask_storeu_ps(of_shift + c, there, _mm512_add_ps(shifts, value));
      }
      const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum) / width_);
      const __m512 slope = _mm512_set1_ps(_mm512_reduce_add_ps(along) / width_);
      each_column(r, packed, [&](int64_t c) {
        const __mmask16 there = lanes(c);
        const __m512 plain = _mm512_maskz_loadu_ps(there, row + c), by = _mm512_maskz_loadu_ps(there, scale_ + c);
        const __m512 x = standardised(plain), off = _mm512_fmsub_ps(arriving(c, there, x, by), by, mean);
        const __mmask16 open = before_ ? there : there & above_0(plain);
        const __m512 value = _mm512_maskz_mul_ps(open, standardised.by, _mm512_fnmadd_ps(x, slope, off));
        _mm512_mask_storeu_ps(g + c, there, value);
        return value;
      });
    }
  }

 private:
  static constexpr float LEAST = 1e-5f;  // added to the variance, as torch.nn.LayerNorm does

  // 16 of a row's numbers with mean 0 and variance 1.
  struct Standard {
    __m512 mean, by;
    __m512 operator()(__m512 x) const { return _mm512_mul_ps(_mm512_sub_ps(x, mean), by); }
  };

  __mmask16 lanes(int64_t column) const { return first(width_ - column); }

  Standard standard(const float* row) const {
    __m512 sum = _mm512_setzero_ps(), squares = _mm512_setzero_ps();
    for (int64_t c = 0; c < width_; c += SIDE) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(lanes(c), row + c));
    const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum) / width_);
    for (int64_t c = 0; c < width_; c += SIDE) {
      const __mmask16 there = lanes(c);
      const __m512 off = _mm512_maskz_sub_ps(there, _mm512_maskz_loadu_ps(there, row + c), mean);
      squares = _mm512_fmadd_ps(off, off, squares);
    }
    return {mean, _mm512_set1_ps(1 / std::sqrt(_mm512_reduce_add_ps(squares) / width_ + LEAST))};
  }

  // A row, 16 columns of which `compute` gives, as tiles too, unless `packed` is null.
  template <typename Compute>
  void each_column(int64_t row, char* packed, const Compute& compute) const {
    const int64_t steps = (width_ + STEP - 1) / STEP;
    char* to = packed ? packed + row / SIDE * steps * PARTS * TILE + row % SIDE * 64 : nullptr;
    for (int64_t c = 0; c < width_; c += STEP) {
      const __m512 a = compute(c), b = c + SIDE < width_ ? compute(c + SIDE) : _mm512_setzero_ps();
      if (packed) split(a, b, to + c / STEP * PARTS * TILE);
    }
  }

  const float *scale_, *shift_;
  int64_t width_;
  bool before_;
};

Tensor in_rows(const Tensor& x) { return x.stride(2) == 1 || x.size(2) == 1 ? x : x.contiguous(); }

Tensor either_way(const Tensor& w) { return w.stride(1) == 1 || w.stride(2) == 1 ? w : w.contiguous(); }

float* member(Tensor& x, int64_t i) { return x.mutable_data_ptr<float>() + i * x.size(1) * x.size(2); }

// A copy in memory that is not needed soon, and need not come into the cache to be written.
void copy_past_cache(const float* from, int64_t count, float* to) {
  const bool aligned = reinterpret_cast<uintptr_t>(to) % 64 == 0;
  for (int64_t i = 0; i < count; i += SIDE) {
    const __mmask16 lanes = first(count - i);
    const __m512 values = _mm512_maskz_loadu_ps(lanes, from + i);
    if (aligned && count - i >= SIDE)
      _mm512_stream_ps(to + i, values);
    else
      _mm512_mask_storeu_ps(to + i, lanes, values);
  }
}

// How the processor's 8 tiles are used. A constant, because to compilers the instruction that takes it reads its first
// bytes alone, and they leave out the rest of what is written before.
constexpr struct {
  uint8_t palette, rest[15];
  uint16_t bytes[16];
  uint8_t rows[16];
} SHAPE{1, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {SIDE, SIDE, SIDE, SIDE, SIDE, SIDE, SIDE, SIDE}};

// While this lives the tiles are in use.
struct Tiles {
  Tiles() { _tile_loadconfig(&SHAPE); }
  ~Tiles() { _tile_release(); }
};

// x @ weight + bias: [N, B, in], [N, in, out], [N, 1, out] to [N, B, out].
Tensor linear(const Tensor& input, const Tensor& weights, const Tensor& biases) {
  const Tensor x = in_rows(input), w = either_way(weights), bias = biases.contiguous();
  Tensor result = at::empty({x.size(0), x.size(1), w.size(2)}, x.options());
  const Tiles tiles;
  for (int64_t i = 0; i < x.size(0); i++) {
    Weight weight(w, i);
    if (x.size(1) > PART) weight.pack(false, workspace().weights[0]);
    forward({x, i}, weight,
            {member(result, i), w.size(2), Output::LAYER, bias.const_data_ptr<float>() + i * w.size(2)});
  }
  return result;
}

// The gradient of a layer's input: [N, B, out], [N, in, out] to [N, B, in].
Tensor input_gradient(const Tensor& gradient, const Tensor& weights) {
  const Tensor grad = in_rows(gradient), w = either_way(weights);
  Tensor result = at::empty({grad.size(0), grad.size(1), w.size(1)}, grad.options());
  const Tiles tiles;
  for (int64_t i = 0; i < grad.size(0); i++) {
    Weight weight(w, i);
    if (grad.size(1) > PART) weight.pack(true, workspace().weights[0]);
    to_input({grad, i}, weight, {member(result, i), w.size(1)});
  }
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

// The layers of a stack, Linear, ReLU, ..., Linear, and which units of each hidden one are kept (none named: all), or
// the scale and shift of the LayerNorm before or after each ReLU (none named: there is none).
struct Layers {
  int64_t depth, widest = 0;
  std::vector<Tensor> weights, biases, kept, norms;
  bool before;
  std::vector<const char*> packed;  // weights of the member that is at hand

  Layers(at::TensorList parameters, at::TensorList masks, at::TensorList of_norms, bool norm_before)
      : depth(parameters.size() / 2), before(norm_before) {
    for (int64_t layer = 0; layer < depth; layer++) {
      weights.push_back(either_way(parameters[2 * layer]));
      biases.push_back(parameters[2 * layer + 1].contiguous());
      widest = std::max({widest, weights[layer].size(1), width(layer)});
    }
    for (const Tensor& mask : masks) kept.push_back(mask.contiguous());
    for (const Tensor& each : of_norms) norms.push_back(each.contiguous());
    packed.resize(depth);
  }

  int64_t width(int64_t layer) const { return weights[layer].size(2); }

  // A member's weights.
  Weight weight(int64_t layer, int64_t i) const {
    Weight w(weights[layer], i);
    w.packed = packed[layer];
    return w;
  }

  // A hidden layer's, where there is one.
  Norm norm(int64_t layer, int64_t i) const {
    const int64_t begin = i * width(layer);
    return {norms[2 * layer].const_data_ptr<float>() + begin, norms[2 * layer + 1].const_data_ptr<float>() + begin,
            width(layer), before};
  }

  // Before the first of several parts of a member's rows: its weights, from a layer on, become tiles.
  void pack(int64_t i, int64_t layer, bool turned) {
    for (int64_t place = 0; layer < depth && place < READY; layer++) {
      Weight w(weights[layer], i);
      if (w.pack(turned, workspace().weights[place])) place++;
      packed[layer] = w.packed;
    }
  }

  // Whether what is between the layer before this one and this one can go from product to product as tiles.
  bool takes_tiles(int64_t layer) const {
    const int64_t between = weights[layer].size(1);
    return between > 1 && between <= DEPTH && width(layer) > 1;
  }

  // Whether all hidden layers of so many rows are more than the cache holds.
  bool past_cache(int64_t rows) const { return rows * widest * (depth - 1) * int64_t{sizeof(float)} > CACHE; }

  // A layer's output, without LayerNorm, for these rows of a member, the `begin`th and those after it: as numbers unless
  // `to` is null, as tiles if `as_tiles`, which makes numbers go past the cache, and gates unless `gates` is null.
  Rows compute(int64_t layer, int64_t i, int64_t begin, const Rows& x, float* to, bool as_tiles,
               __mmask16* gates) const {
    Output out{to, width(layer), Output::LAYER, biases[layer].const_data_ptr<float>() + i * width(layer)};
    if (layer + 1 < depth && (norms.empty() || !before)) {
      out.least = 0;
      if (!kept.empty())
        out.kept = kept[layer].const_data_ptr<float>() + (i * kept[layer].size(1) + begin) * width(layer);
    }
    out.gates = gates;
    if (as_tiles) out.packed = workspace().layers[layer % 2];
    out.past_cache = to && as_tiles;
    forward(x, weight(layer, i), out);
    return {to, x.count, width(layer), out.packed};
  }
};

// Of a tensor of gates, [N, B, units / 16].
__mmask16* gates_of(const Tensor& gates, int64_t member, int64_t row) {
  auto* const words = reinterpret_cast<__mmask16*>(gates.mutable_data_ptr<int16_t>());
  return words + (member * gates.size(1) + row) * gates.size(2);
}

// The output of a stack, [N, B, out], for weight and bias of each layer, and masks [N, B, width] or scales and shifts;
// before it the hidden layers, as they are when a LayerNorm comes, if `keep` says "units", or which of their units are
// above 0, in words of 16, if it says "gates". Each member's rows go through all layers in parts, so that they stay in
// the cache.
std::vector<Tensor> relu_stack(const Tensor& input, at::TensorList kept, at::TensorList parameters,
                               at::TensorList norms, bool norm_before, c10::string_view keep) {
  TORCH_CHECK(norms.empty() || (kept.empty() && keep != "gates"), "a stack with LayerNorm keeps all units, as units");
  const Tensor x = in_rows(input);
  Layers layers(parameters, kept, norms, norm_before);
  const int64_t n = x.size(0), rows = x.size(1);
  const bool units = keep == "units", gates = keep == "gates";
  const bool aside = units && layers.past_cache(n * rows);
  std::vector<Tensor> outputs;
  for (int64_t layer = units || gates ? 0 : layers.depth - 1; layer < layers.depth; layer++) {
    const bool words = gates && layer + 1 < layers.depth;
    outputs.push_back(at::empty({n, rows, words ? tiles(layers.width(layer)) : layers.width(layer)},
                                words ? x.options().dtype(at::kShort) : x.options()));
  }
  Tensor between = at::empty({2, std::min(rows, PART), layers.widest}, x.options());
  const Tiles tiles;
  for (int64_t i = 0; i < n; i++) {
    if (rows > PART) layers.pack(i, 0, false);
    for (int64_t begin = 0; begin < rows; begin += PART) {
      Rows now = Rows(x, i).part(begin, PART);
      for (int64_t layer = 0; layer < layers.depth; layer++) {
        const int64_t width = layers.width(layer);
        const bool last = layer + 1 == layers.depth;
        const bool takes_tiles = !last && now.count > FEW && layers.takes_tiles(layer + 1);
        __mmask16* const open = gates && !last ? gates_of(outputs[layer], i, begin) : nullptr;
        float* const here = member(between, layer % 2);
        if (!last && !norms.empty()) {
          float* const to = units ? member(outputs[layer], i) + begin * width : nullptr;
          float* const plain = units && !aside ? to : here;
          float* const normal = takes_tiles ? nullptr : here;
          char* const packed = takes_tiles ? workspace().layers[layer % 2] : nullptr;
          layers.compute(layer, i, begin, now, plain, false, nullptr);
          if (aside) copy_past_cache(plain, now.count * width, to);
          layers.norm(layer, i).forward(plain, now.count, normal, packed);
          now = {normal, now.count, width, packed};
          continue;
        }
        if (!units && !last) {
          now = layers.compute(layer, i, begin, now, takes_tiles ? nullptr : here, takes_tiles, open);
          continue;
        }
        float* const to = member(outputs[units ? layer : outputs.size() - 1], i) + begin * width;
        const bool whole_words = width % SIDE == 0 && reinterpret_cast<uintptr_t>(to) % 64 == 0;
        if (last || !aside || (takes_tiles && whole_words)) {
          now = layers.compute(layer, i, begin, now, to, aside && takes_tiles, nullptr);
        } else {
          now = layers.compute(layer, i, begin, now, here, false, nullptr);
          copy_past_cache(now.data, now.count * width, to);
        }
      }
    }
  }
  if (aside) _mm_sfence();
  return outputs;
}

// The gradients of the stack's input, if `of_input` (else of no size), and then of each weight and bias, and each scale
// and shift, if `of_parameters`, for which `hidden` must be units, not gates.
std::vector<Tensor> relu_stack_gradients(const Tensor& gradient, const Tensor& input, at::TensorList hidden,
                                         at::TensorList parameters, at::TensorList norms, bool norm_before,
                                         bool of_input, bool of_parameters) {
  const Tensor x = in_rows(input), grad = in_rows(gradient);
  Layers layers(parameters, {}, norms, norm_before);
  const int64_t n = x.size(0), rows = x.size(1), depth = layers.depth;
  const bool gates = depth > 1 && hidden[0].scalar_type() == at::kShort;
  TORCH_CHECK(!(gates && of_parameters), "the gradients of parameters need the hidden layers' units");
  std::vector<Tensor> units, grads{at::empty(of_input ? x.sizes() : at::IntArrayRef{0}, x.options())};
  for (const Tensor& each : hidden) units.push_back(each.contiguous());
  for (int64_t layer = 0; of_parameters && layer < depth; layer++) {
    grads.push_back(at::empty(layers.weights[layer].sizes(), x.options()));
    grads.push_back(at::empty(layers.biases[layer].sizes(), x.options()));
  }
  for (const Tensor& each : norms)
    if (of_parameters) grads.push_back(at::zeros(each.sizes(), x.options()));
  // The last is for a layer as its LayerNorm left it.
  Tensor between = at::empty({3, std::min(rows, PART), layers.widest}, x.options());
  // Read in order, memory arrives sooner than in the order in which it is packed.
  const bool in_order = !gates && layers.past_cache(n * rows);
  const Tiles tiles;
  for (int64_t i = 0; i < n; i++) {
    if (rows > PART) layers.pack(i, of_input ? 0 : 1, true);
    for (int64_t begin = 0; begin < rows; begin += PART) {
      Rows now = Rows(grad, i).part(begin, PART);
      for (int64_t layer = depth - 1; layer >= 0; layer--) {
        const int64_t width = layers.weights[layer].size(1);
        Rows before{nullptr, now.count, width};
        if (layer == 0 || !gates) before = Rows(layer ? units[layer - 1] : x, i).part(begin, PART);
        for (int64_t place = 0; layer && in_order && place < before.count * width; place += SIDE)
          _mm_prefetch(before.data + place, _MM_HINT_T0);
        const float* const plain = before.data;
        const bool normalised = layer > 0 && !norms.empty();
        if (normalised && of_parameters) {
          layers.norm(layer - 1, i).forward(plain, now.count, member(between, 2), nullptr);
          before.data = member(between, 2);
        }
        if (of_parameters)
          to_parameters(before, now, member(grads[2 * layer + 1], i), member(grads[2 * layer + 2], i), begin > 0);
        if (layer == 0 && !of_input) break;
        Output out{layer ? member(between, layer % 2) : member(grads[0], i) + begin * width, width};
        char* const packed =
            layer && !of_parameters && layers.takes_tiles(layer) ? workspace().layers[layer % 2] : nullptr;
        if (normalised) {
          to_input(now, layers.weight(layer, i), out);
          const auto of_norm = [&](int64_t which) {
            return of_parameters ? member(grads[2 * (depth + layer) - 1 + which], i) : nullptr;
          };
          layers.norm(layer - 1, i).backward(plain, now.count, out.data, packed, of_norm(0), of_norm(1));
        } else {
          if (layer) out.kind = Output::GATED, out.gate = before.data;
          if (layer && gates) out.gates = gates_of(units[layer - 1], i, begin);
          if (packed) out.packed = packed, out.data = nullptr;
          to_input(now, layers.weight(layer, i), out);
        }
        now = {out.data, now.count, width, packed};
      }
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
  library.def(
      "relu_stack(Tensor x, Tensor[] kept, Tensor[] layers, Tensor[] norms, bool norm_before, str keep) -> Tensor[]");
  library.def(
      "relu_stack_gradients(Tensor grad, Tensor x, Tensor[] hidden, Tensor[] layers, Tensor[] norms, bool norm_before,"
      " bool of_input, bool of_parameters) -> Tensor[]");
}

TORCH_LIBRARY_IMPL(rlbench_amx, CPU, library) {
  library.impl("linear", &linear);
  library.impl("input_gradient", &input_gradient);
  library.impl("parameter_gradients", &parameter_gradients);
  library.impl("relu_stack", &relu_stack);
  library.impl("relu_stack_gradients", &relu_stack_gradients);
}
