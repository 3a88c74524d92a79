// Between the halves of LoraHub's product (arXiv 2307.13269, section 3.3): the sum over modules, h[·, T·b + r] = Σ_t weight_t · h[·, t·b + r],
// for T modules of b blocks of four ranks each.
//
//   tables  from items0, six numbers per item: rows (at most ${tile_rows}), vec4 of h of the first row, vec4s in a row of h, where
//           the item's weights start in tables, T, b
//   h       what down.wgsl made, with room for the sum after the modules
//
// One workgroup does one item. Dispatch: items.

struct Parameters {
  items0: u32,
  items: u32,
}

@group(0) @binding(0) var<storage, read> tables: array<u32>;
@group(0) @binding(1) var<storage, read_write> h: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> p: Parameters;

@compute @workgroup_size(${lanes_x}, ${lanes_y})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
  let item = group.y * groups.x + group.x;
  if (item >= p.items) {
    return;
  }
  let at = p.items0 + 6u * item;
  let weights = tables[at + 3u];
  let terms = tables[at + 4u];
  let blocks = tables[at + 5u];
  for (var row = local.y; row < tables[at]; row += ${lanes_y}u) {
    let h0 = tables[at + 1u] + row * tables[at + 2u];
    for (var r = local.x; r < blocks; r += ${lanes_x}u) {
      var sum = vec4<f32>();
      for (var t = 0u; t < terms; t++) {
        sum += bitcast<f32>(tables[weights + t]) * h[h0 + t * blocks + r];
      }
      h[h0 + terms * blocks + r] = sum;
    }
  }
}
