// Matrix product of packed rows with one window of a weight's outputs: y = scale · (x Wᵀ) + residual.
// With LogSoftmax the product is not stored: each tile leaves the largest logit and Σ exp(logit − largest) of each of its rows,
// and the logit of the row's target, for logsoftmax.wgsl to combine.
//
//   x        [rows, 4·in4]           zeros beyond the input's width
//   w        [4·in4, 4·w4]           Wᵀ of the window, whole tiles wide, zeros where W has nothing; f32, f16, int8 or blocks8. Integers of 4 to 6
//                                    bits are words [in4/8, ${block_words}, w4] of four outputs: for 32 k the lower four bits, of one k in the
//                                    low half of a word and of the next in the high one; then fifth bits, of 8 k in a word, or fifth and
//                                    sixth, of 4 k
//   scales   [4·w4]                  int8: what the integers of an output are worth; blocks: the same for 32 k each, [in4/8, 4·w4] of f16, but for
//                                    blocks8 with an offset in the high half of a word; super: for 256 k each five words [in4/64, 5, 4·w4], one such
//                                    word, and 16 multiples of 8 bits: for 32 k one of the scale and one of the offset, super6: for 16 k one of the scale
//   residual, y [rows, 4·y4]         the window's outputs start at vec4 y0 of a row
//   tables   from target0: the target of each row, a column of the whole head
//   sums     [rows, tiles] vec2      largest logit, sum
//   chosen   [rows]                  logit of the target
//
// One invocation computes ${rows} rows times ${vectors} vec4s of columns, ${lanes_x} vec4s apart; one workgroup a tile of
// ${tile_rows} rows and ${tile_columns} columns. Dispatch: (tiles of columns, tiles of rows).
// Sums run over k in ascending order whatever the tile, so a row's numbers do not depend on where in a batch it stands.

struct Parameters {
  rows: u32,
  in4: u32,
  w4: u32,
  y4: u32,       // LogSoftmax: unused
  y0: u32,       // LogSoftmax: the column of the head at which the window starts
  columns4: u32, // vec4s of the window that y has; LogSoftmax: columns of the window that exist
  tile0: u32,    // the first tile of columns in this step, within the window
  target0: u32,  // LogSoftmax: of tables
  sums0: u32,    // LogSoftmax: the window's first tile in a row of sums
  tiles: u32,    // LogSoftmax: tiles in a row of sums
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
//#if storage == f32
@group(0) @binding(1) var<storage, read> w: array<vec4<f32>>;
//#else if storage == f16
@group(0) @binding(1) var<storage, read> w: array<vec2<u32>>;
//#else
@group(0) @binding(1) var<storage, read> w: array<u32>;
//#end
//#if storage == int8
@group(0) @binding(${at_scales}) var<storage, read> scales: array<vec4<f32>>;
//#else if storage == blocks8
@group(0) @binding(${at_scales}) var<storage, read> scales: array<vec2<u32>>;
//#else if blocks
@group(0) @binding(${at_scales}) var<storage, read> scales: array<vec4<u32>>;
//#end
//#if residual
@group(0) @binding(${at_residual}) var<storage, read> residual: array<vec4<f32>>;
//#end
//#if log_softmax
@group(0) @binding(${at_tables}) var<storage, read> tables: array<u32>;
@group(0) @binding(${at_sums}) var<storage, read_write> sums: array<vec2<f32>>;
@group(0) @binding(${at_chosen}) var<storage, read_write> chosen: array<f32>;
//#else
@group(0) @binding(${at_y}) var<storage, read_write> y: array<vec4<f32>>;
//#end
@group(0) @binding(${at_parameters}) var<uniform> p: Parameters;

// weight returns four outputs of one k: at is where row k has them, column where a row has them. Of blocks they are integers.
fn weight(at: u32, k: u32, column: u32) -> vec4<f32> {
//#if storage == f32
  return w[at];
//#else if storage == f16
  let packed = w[at];
  return vec4<f32>(unpack2x16float(packed.x), unpack2x16float(packed.y));
//#else if bits == 8
  let packed = bitcast<i32>(w[at]);
  return vec4<f32>(vec4<i32>(packed << 24u, packed << 16u, packed << 8u, packed) >> vec4<u32>(24u));
//#else
  let block = (k >> 5u) * ${block_words}u;
  let four = (vec4<u32>(w[(block + ((k & 31u) >> 1u)) * p.w4 + column] >> ((k & 1u) * 16u)) >> vec4<u32>(0u, 4u, 8u, 12u)) & vec4<u32>(15u);
//#if bits == 5
  let fifth = (vec4<u32>(w[(block + 16u + ((k & 31u) >> 3u)) * p.w4 + column] >> ((k & 7u) * 4u)) << vec4<u32>(4u, 3u, 2u, 1u)) & vec4<u32>(16u);
  return vec4<f32>(four | fifth);
//#else if bits == 6
  let upper = (vec4<u32>(w[(block + 16u + ((k & 31u) >> 2u)) * p.w4 + column] >> ((k & 3u) * 8u)) >> vec4<u32>(0u, 2u, 4u, 6u)) & vec4<u32>(3u);
  return vec4<f32>(vec4<i32>(four | (upper << vec4<u32>(4u))) - vec4<i32>(32));
//#else
  return vec4<f32>(four);
//#end
//#end
}
//#if blocks

// Scales are what four outputs' integers are to be multiplied with, and what is then added.
struct Scales {
  scale: vec4<f32>,
  offset: vec4<f32>,
}

// halves takes four pairs of 16 bits apart.
fn halves(pairs: vec4<u32>) -> Scales {
  let a = unpack2x16float(pairs.x);
  let b = unpack2x16float(pairs.y);
  let c = unpack2x16float(pairs.z);
  let d = unpack2x16float(pairs.w);
  return Scales(vec4<f32>(a.x, b.x, c.x, d.x), vec4<f32>(a.y, b.y, c.y, d.y));
}

// scales_of returns those of a column at k; four k from a multiple of four on share them.
fn scales_of(k: u32, column: u32) -> Scales {
//#if storage == blocks8
  let pairs = scales[(k >> 5u) * p.w4 + column];
  return Scales(vec4<f32>(unpack2x16float(pairs.x), unpack2x16float(pairs.y)), vec4<f32>());
//#else if scale_rows == 32
  return halves(scales[(k >> 5u) * p.w4 + column]);
//#else
  let at = (k >> 8u) * ${super_words}u * p.w4 + column;
  let unit = halves(scales[at]);
  let bytes = bitcast<vec4<i32>>(scales[at + (1u + ((k >> 6u) & 3u)) * p.w4]);
//#if storage == super6
  let multiple = (bytes << vec4<u32>(24u - ((k >> 4u) & 3u) * 8u)) >> vec4<u32>(24u);
  return Scales(unit.scale * vec4<f32>(multiple), vec4<f32>());
//#else
  let shift = ((k >> 5u) & 1u) * 16u;
  let multiple = (bytes << vec4<u32>(24u - shift)) >> vec4<u32>(24u);
  let offset = (bytes << vec4<u32>(16u - shift)) >> vec4<u32>(24u);
  return Scales(unit.scale * vec4<f32>(multiple), unit.offset * vec4<f32>(offset));
//#end
//#end
}
//#end
//#if log_softmax

var<workgroup> lanes: array<vec2<f32>, ${lanes}>;

const LOWEST: f32 = -3.0e38; // stands for minus infinity, which WGSL does not promise

// join adds b's share to a: each is a largest logit and a sum of exponentials relative to it.
fn join(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
  let largest = max(a.x, b.x);
  return vec2<f32>(largest, a.y * exp(a.x - largest) + b.y * exp(b.x - largest));
}
//#end
//#if form == tiled

var<workgroup> x_tile: array<vec4<f32>, ${tile_rows * depth}>;
var<workgroup> w_tile: array<vec4<f32>, ${tile_vectors * depth * 4}>;
//#end

@compute @workgroup_size(${lanes_x}, ${lanes_y})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
  let row0 = group.y * ${tile_rows}u + local.y * ${rows}u;
  let column0 = (p.tile0 + group.x) * ${tile_vectors}u + local.x;
//#for i in rows
//#for j in vectors
  var sum_${i}_${j} = vec4<f32>();
//#end
//#end

//#if form == tiled
//#include product_tiled
//#else
//#include product_block
//#end
//#if storage == int8
//#for j in vectors
  let scale_${j} = scales[column0 + ${j * lanes_x}u];
//#for i in rows
  sum_${i}_${j} *= scale_${j};
//#end
//#end
//#end

//#if log_softmax
//#include product_softmax
//#else
//#for i in rows
  if (row0 + ${i}u < p.rows) {
    let at = (row0 + ${i}u) * p.y4 + p.y0 + column0;
//#for j in vectors
    if (column0 + ${j * lanes_x}u < p.columns4) {
//#if residual
      y[at + ${j * lanes_x}u] = sum_${i}_${j} + residual[at + ${j * lanes_x}u];
//#else
      y[at + ${j * lanes_x}u] = sum_${i}_${j};
//#end
    }
//#end
  }
//#end
//#end
}
