// The end of a log-softmax whose logits were never stored: y = chosen − log Σ exp(logit), from the partial sums of product.wgsl.
//
//   sums     [rows, tiles] vec2   largest logit, Σ exp(logit − largest), of one tile of columns
//   chosen   [rows]               logit of the target
//   y        [rows, 4]            the result in the first column, zeros beside it
//
// One workgroup combines one row: each invocation every ${lanes}th tile, then the first one the others'. Dispatch: rows.

struct Parameters {
  rows: u32,
  tiles: u32,
}

@group(0) @binding(0) var<storage, read> sums: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read> chosen: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> p: Parameters;

const LOWEST: f32 = -3.0e38; // stands for minus infinity, which WGSL does not promise

var<workgroup> lanes: array<vec2<f32>, ${lanes}>;

// join adds b's share to a: each is a largest logit and a sum of exponentials relative to it.
fn join(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
  let largest = max(a.x, b.x);
  return vec2<f32>(largest, a.y * exp(a.x - largest) + b.y * exp(b.x - largest));
}

@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = group.y * groups.x + group.x;
  var mine = vec2<f32>(LOWEST, 0.0);
  if (row < p.rows) {
    for (var i = lane; i < p.tiles; i += ${lanes}u) {
      mine = join(mine, sums[row * p.tiles + i]);
    }
  }
  lanes[lane] = mine;
  workgroupBarrier();
  if (lane == 0u && row < p.rows) {
    for (var i = 1u; i < ${lanes}u; i++) {
      mine = join(mine, lanes[i]);
    }
    y[row] = vec4<f32>(chosen[row] - (mine.x + log(mine.y)), 0.0, 0.0, 0.0);
  }
}
