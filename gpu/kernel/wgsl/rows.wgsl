// Copies rows: y[second of pair i] = x[first of pair i]. An embedding reads rows of a table, a gather rows of a tensor, and a
// scatter writes rows of a cache.
//
//   x, y    [·, 4·stride4]
//   tables  from pairs0: row of x and row of y of each of the count copies
//
// One invocation copies one vec4. Dispatch: count · stride4 / ${lanes}.

struct Parameters {
  count: u32,
  stride4: u32,
  pairs0: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> tables: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> p: Parameters;

@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * ${lanes}u + lane;
  let pair = i / p.stride4;
  if (pair < p.count) {
    let column = i % p.stride4;
    let row_x = tables[p.pairs0 + 2u * pair];
    let row_y = tables[p.pairs0 + 2u * pair + 1u];
    y[row_y * p.stride4 + column] = x[row_x * p.stride4 + column];
  }
}
