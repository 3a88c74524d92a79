// Adds a bias to every row, in place: y += bias.
//
//   bias  [4·stride4]         zeros beyond the width
//   y     [count / stride4, 4·stride4]
//
// One invocation adds to one vec4. Dispatch: vec4s / ${lanes}.

struct Parameters {
  count: u32, // vec4s of y
  stride4: u32,
}

@group(0) @binding(0) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> p: Parameters;

@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * ${lanes}u + lane;
  if (i < p.count) {
    y[i] += bias[i % p.stride4];
  }
}
