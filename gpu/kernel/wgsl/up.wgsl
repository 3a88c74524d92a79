// Second half of a low-rank update: y += Σ coefficient · h Bᵀ, over the modules that a row's segment names.
//
//   h       from down.wgsl and fold.wgsl
//   b       a heap of factors; four ranks of one Bᵀ are four rows of b4 vec4s, one after the other
//   tables  from items0, six numbers per item: first row, rows (at most ${tile_rows}), vec4 of h of the first row, vec4s in a row of h,
//           where the item's blocks start in tables, blocks.
//           A block is three numbers: vec4 of its first row in b, vec4 within a row of h, coefficient (f32).
//   y       [rows, 4·y4]
//
// One invocation computes ${rows} rows times ${vectors} vec4s of columns, ${lanes_x} vec4s apart. Dispatch: (tiles of columns, items).
// A row's blocks are added in the order of its segment's terms.

struct Parameters {
  b4: u32,
  y4: u32,
  items0: u32,
}

@group(0) @binding(0) var<storage, read> h: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> tables: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<uniform> p: Parameters;

@compute @workgroup_size(${lanes_x}, ${lanes_y})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
  let at = p.items0 + 6u * group.y;
  let rows = tables[at + 1u];
  let row0 = local.y * ${rows}u;
  let column0 = group.x * ${vectors * lanes_x}u + local.x;
  if (row0 >= rows || column0 >= p.y4) {
    return;
  }
  let stride4 = tables[at + 3u];
//#for j in vectors
  let column_${j} = min(column0 + ${j * lanes_x}u, p.y4 - 1u);
//#end
//#for i in rows
  let h_${i} = tables[at + 2u] + min(row0 + ${i}u, rows - 1u) * stride4;
//#for j in vectors
  var sum_${i}_${j} = vec4<f32>();
//#end
//#end
  let blocks0 = tables[at + 4u];
  let end = blocks0 + 3u * tables[at + 5u];
  for (var block = blocks0; block < end; block += 3u) {
    let b0 = tables[block];
    let within = tables[block + 1u];
    let coefficient = bitcast<f32>(tables[block + 2u]);
//#for i in rows
    let u_${i} = coefficient * h[h_${i} + within];
//#end
//#for q in 4
//#for j in vectors
    let v_${q}_${j} = b[b0 + ${q}u * p.b4 + column_${j}];
//#end
//#for i in rows
//#for j in vectors
    sum_${i}_${j} = fma(vec4<f32>(u_${i}[${q}]), v_${q}_${j}, sum_${i}_${j});
//#end
//#end
//#end
  }
//#for i in rows
  if (row0 + ${i}u < rows) {
    let row = (tables[at] + row0 + ${i}u) * p.y4;
//#for j in vectors
    if (column0 + ${j * lanes_x}u < p.y4) {
      y[row + column_${j}] += sum_${i}_${j};
    }
//#end
  }
//#end
}
