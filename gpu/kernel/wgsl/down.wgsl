// First half of a low-rank update: h = x Aᵀ, the rows of each segment with the A of every module that the segment names.
//
//   x       [rows, 4·in4]   zeros beyond the input's width
//   a       a heap of factors; four ranks of one A are four rows of in4 vec4s, one after the other
//   tables  from items0, six numbers per item: first row, rows (at most ${tile_rows}), vec4 of h of the first row, vec4s in a row of h,
//           where the item's blocks start in tables, blocks (at most ${lanes_x}).
//           A block is two numbers: vec4 of its first row in a, vec4 within a row of h.
//   h       what tables say
//
// One invocation computes ${rows} rows times four ranks. Dispatch: items. Rows without a segment are in no item and cost nothing.

struct Parameters {
  in4: u32,
  items0: u32,
  items: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> tables: array<u32>;
@group(0) @binding(3) var<storage, read_write> h: array<vec4<f32>>;
@group(0) @binding(4) var<uniform> p: Parameters;

@compute @workgroup_size(${lanes_x}, ${lanes_y})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
  let item = group.y * groups.x + group.x;
  if (item >= p.items) {
    return;
  }
  let at = p.items0 + 6u * item;
  let rows = tables[at + 1u];
  let row0 = local.y * ${rows}u;
  if (row0 >= rows || local.x >= tables[at + 5u]) {
    return;
  }
  let block = tables[at + 4u] + 2u * local.x;
  let a_0 = tables[block];
//#for q in 3
  let a_${q + 1} = a_${q} + p.in4;
//#end
//#for i in rows
  let x_${i} = (tables[at] + min(row0 + ${i}u, rows - 1u)) * p.in4;
  var sum_${i} = vec4<f32>();
//#end
  for (var k = 0u; k < p.in4; k++) {
//#for q in 4
    let v_${q} = a[a_${q} + k];
//#end
//#for i in rows
    let u_${i} = x[x_${i} + k];
    sum_${i} += vec4<f32>(dot(u_${i}, v_0), dot(u_${i}, v_1), dot(u_${i}, v_2), dot(u_${i}, v_3));
//#end
  }
  let stride4 = tables[at + 3u];
  let to = tables[at + 2u] + row0 * stride4 + tables[block + 1u];
//#for i in rows
  if (row0 + ${i}u < rows) {
    h[to + ${i}u * stride4] = sum_${i};
  }
//#end
}
