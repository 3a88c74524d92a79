// Multi-head attention over row ranges: y = Σ_j softmax_j(scale · q·k_j + bias[distance j]) v_j, with a softmax that is carried along
// the keys (arXiv 1805.02867), so any number of them will do.
//
//   q, y    [query rows, stride], k, v  [key rows, kv_stride]; head n has columns [n·width, (n+1)·width), of k and v those of head n / group
//   tables  from items0, eight numbers per item: first row of q, rows (at most ${rows}), first row of k, keys, how many of them the
//           first row sees (each following row sees one more, if there is), and the row of the bias for key 0 and the first row
//           of q (one less for each following row; signed); with a window the first key that the first row sees (one more for each
//           following row; signed, for it may lie before the first); and, if the keys are in pages of ${page_rows} rows, one more than where
//           the first rows of these start in tables (the first row of k is then 0), else 0.
//           From bias0: the bias [distances, heads], if there is one.
//
// One workgroup computes one head of one item, ${keys_at_once} keys at a time: an invocation has one row, and of it the scores of four keys and
// then every ${slots}th vec4 of the result. Dispatch: (heads, items). Rows that see no key become zeros.

struct Parameters {
  stride: u32, // in ${unit}
  kv_stride: u32, // in ${unit}
  heads: u32,
  group: u32, // heads that share one of k and v
  width: u32,
  items0: u32,
  bias0: u32,
  biased: u32, // 0: there is no bias
  scale: f32,
  windowed: u32, // 0: there is no window
}

@group(0) @binding(0) var<storage, read> q: array<${element}>;
@group(0) @binding(1) var<storage, read> k: array<${element}>;
@group(0) @binding(2) var<storage, read> v: array<${element}>;
@group(0) @binding(3) var<storage, read> tables: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<${element}>;
@group(0) @binding(5) var<uniform> p: Parameters;

const LOWEST: f32 = -3.0e38; // stands for minus infinity, which WGSL does not promise

var<workgroup> queries: array<vec4<f32>, ${rows * slots * sums}>; // scaled
var<workgroup> scores: array<vec4<f32>, ${rows * slots}>;
var<workgroup> weights: array<vec4<f32>, ${rows * slots}>;
//#for input in q k v

//#if aligned
// ${input}_at is vec4 c of the head whose numbers start at i.
//#else
// ${input}_at is vec4 c of the head whose numbers start at i; the last runs on into the next head.
//#end
fn ${input}_at(i: u32, c: u32) -> vec4<f32> {
//#if aligned
  return ${input}[i + c];
//#else
  let at = i + 4u * c;
  return vec4<f32>(${input}[at], ${input}[at + 1u], ${input}[at + 2u], ${input}[at + 3u]);
//#end
}
//#end

// page_start is how many rows further on than row j key number j is, modulo 2^32.
fn page_start(pages: u32, j: u32) -> u32 {
  if (pages == 0u) {
    return 0u;
  }
  return tables[pages - 1u + j / ${page_rows}u] - j / ${page_rows}u * ${page_rows}u;
}

@compute @workgroup_size(${slots}, ${rows})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
  let at = p.items0 + 8u * group.y;
  let rows = tables[at + 1u];
  let all_keys = min(tables[at + 3u], tables[at + 4u] + rows - 1u); // that the last row sees
  let row = min(local.y, rows - 1u);
  let keys = min(all_keys, tables[at + 4u] + row);
  let bias_row = bitcast<i32>(tables[at + 5u]) - i32(row);
  var unseen = 0u; // keys before the first that this row sees
  var start = 0u;  // where the workgroup begins: the same steps of keys whatever rows share it
  if (p.windowed != 0u) {
    let before = bitcast<i32>(tables[at + 6u]);
    unseen = u32(max(0, before + i32(row)));
    start = u32(max(0, before)) / ${keys_at_once}u * ${keys_at_once}u;
  }
  let vectors = (p.width + 3u) / 4u;
  let head = group.x * ${head_width};
  let q0 = (tables[at] + row) * p.stride + head;
  let k0 = tables[at + 2u] * p.kv_stride + group.x / p.group * ${head_width};
  let pages = tables[at + 7u];
  let row_queries = local.y * ${slots * sums}u;
  let row_slots = local.y * ${slots}u;
//#for i in sums
  let c_${i} = local.x + ${i * slots}u;
  if (c_${i} < vectors) {
//#if aligned
    queries[row_queries + c_${i}] = q_at(q0, c_${i}) * p.scale;
//#else
    // Zeros in place of the next head's numbers take theirs out of every score.
    let there = vec4<u32>(4u * c_${i}) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.width);
    queries[row_queries + c_${i}] = select(vec4<f32>(), q_at(q0, c_${i}) * p.scale, there);
//#end
  }
  let v_${i} = min(c_${i}, vectors - 1u);
  var sum_${i} = vec4<f32>();
//#end
  workgroupBarrier();
  var largest = LOWEST;
  var total = 0.0;
  for (var first = start; first < all_keys; first += ${keys_at_once}u) {
    let j = first + 4u * local.x;
    let places = vec4<u32>(j, j + 1u, j + 2u, j + 3u);
    let there = (places < vec4<u32>(keys)) & (places >= vec4<u32>(unseen));
    var s = vec4<f32>(LOWEST);
    if (j < keys) {
      let moved = page_start(pages, j); // four keys are in one page
//#for i in 4
      let j_${i} = min(j + ${i}u, keys - 1u);
      let k_${i} = k0 + (moved + j_${i}) * p.kv_stride;
//#end
      s = vec4<f32>();
      for (var c = 0u; c < vectors; c++) {
        let u = queries[row_queries + c];
        s += vec4<f32>(dot(u, k_at(k_0, c)), dot(u, k_at(k_1, c)), dot(u, k_at(k_2, c)), dot(u, k_at(k_3, c)));
      }
      if (p.biased != 0u) {
//#for i in 4
        s[${i}] += bitcast<f32>(tables[p.bias0 + u32(bias_row + i32(j_${i})) * p.heads + group.x]);
//#end
      }
      s = select(vec4<f32>(LOWEST), s, there);
    }
    scores[row_slots + local.x] = s;
    workgroupBarrier();
    let before = largest;
    var highest = scores[row_slots];
    for (var g = 1u; g < ${slots}u; g++) {
      highest = max(highest, scores[row_slots + g]);
    }
    largest = max(largest, max(max(highest.x, highest.y), max(highest.z, highest.w)));
    weights[row_slots + local.x] = select(vec4<f32>(), exp(s - largest), there);
    workgroupBarrier();
    let shrink = exp(before - largest);
    total *= shrink;
//#for i in sums
    sum_${i} *= shrink;
//#end
    for (var g = 0u; g < ${slots}u && first + 4u * g < keys; g++) {
      let e = weights[row_slots + g];
      let moved = page_start(pages, first + 4u * g);
      total += e.x + e.y + e.z + e.w;
//#for n in 4
      let at_${n} = k0 + (moved + min(first + 4u * g + ${n}u, keys - 1u)) * p.kv_stride;
//#end
//#for i in sums
      sum_${i} += e.x * v_at(at_0, v_${i}) + e.y * v_at(at_1, v_${i}) + e.z * v_at(at_2, v_${i}) + e.w * v_at(at_3, v_${i});
//#end
    }
  }
  if (local.y >= rows) {
    return;
  }
  let inverse = select(0.0, 1.0 / total, total > 0.0);
//#for i in sums
  if (c_${i} < vectors) {
//#if aligned
    y[q0 + c_${i}] = sum_${i} * inverse;
//#else
    for (var e = 0u; e < min(4u, p.width - 4u * c_${i}); e++) {
      y[q0 + 4u * c_${i} + e] = sum_${i}[e] * inverse;
    }
//#end
  }
//#end
//#if aligned == false
  // The last head clears what lies between the heads and the end of the row.
  if (group.x == p.heads - 1u && local.x == 0u) {
    for (var i = p.heads * p.width; i < p.stride; i++) {
      y[q0 - head + i] = 0.0;
    }
  }
//#end
}
