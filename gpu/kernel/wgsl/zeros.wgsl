// Clears: y = 0.
//
//   y  [count] vec4s
//
// One invocation clears one vec4. Dispatch: vec4s / ${lanes}.

struct Parameters {
  count: u32,
}

@group(0) @binding(0) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(1) var<uniform> p: Parameters;

@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * ${lanes}u + lane;
  if (i < p.count) {
    y[i] = vec4<f32>();
  }
}
