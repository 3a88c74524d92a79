// Root-mean-square layer normalisation (arXiv 1910.07467): y = x · gain / √(mean(x²) + eps), row by row.
//
//   x, y  [rows, 4·stride4]   zeros beyond the width
//   gain  [4·stride4]         zeros beyond the width
//
// One workgroup computes one row: each invocation every ${lanes}th vec4. Dispatch: rows.

struct Parameters {
  rows: u32,
  stride4: u32,
  width: f32, // numbers in a row
  eps: f32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> gain: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> p: Parameters;

var<workgroup> lanes: array<f32, ${lanes}>;
var<workgroup> sums: array<f32, ${sums}>;

@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = group.y * groups.x + group.x;
  let at = row * p.stride4;
  let end = select(0u, p.stride4, row < p.rows);
  var squares = 0.0;
  for (var i = lane; i < end; i += ${lanes}u) {
    let v = x[at + i];
    squares += dot(v, v);
  }
  lanes[lane] = squares;
  workgroupBarrier();
  if (lane < ${sums}u) {
    var sum = 0.0;
    for (var i = lane; i < ${lanes}u; i += ${sums}u) {
      sum += lanes[i];
    }
    sums[lane] = sum;
  }
  workgroupBarrier();
  var total = 0.0;
  for (var i = 0u; i < ${sums}u; i++) {
    total += sums[i];
  }
  let inverse = 1.0 / sqrt(total / p.width + p.eps);
  for (var i = lane; i < end; i += ${lanes}u) {
    y[at + i] = x[at + i] * inverse * gain[i];
  }
}
