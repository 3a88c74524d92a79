// Rotary position embedding (arXiv 2104.09864): columns i and i + half of a head are turned by angle i of the row.
//
//   x, y    [rows, stride]         heads of 2·half columns, zeros beyond the last
//   angles  [rows, angles_stride]  half cosines, then half sines
//
// One invocation computes one number. Dispatch: rows · stride / ${lanes}.

struct Parameters {
  rows: u32,
  stride: u32,
  angles_stride: u32,
  columns: u32, // of all heads
  half: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> angles: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> p: Parameters;

@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * ${lanes}u + lane;
  let row = i / p.stride;
  if (row >= p.rows) {
    return;
  }
  let column = i % p.stride;
  if (column >= p.columns) {
    y[i] = 0.0;
    return;
  }
  let within = column % (2u * p.half);
  let at = row * p.angles_stride;
  if (within < p.half) {
    y[i] = x[i] * angles[at + within] - x[i + p.half] * angles[at + p.half + within];
  } else {
    y[i] = x[i] * angles[at + within - p.half] + x[i - p.half] * angles[at + within];
  }
}
