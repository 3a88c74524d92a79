// The sums of product.wgsl in the form "tiled": both tiles pass through workgroup memory.

  // Through workgroup memory: ${depth * 4} k at a time of both tiles are loaded together, and then serve every invocation.
  let lane = local.y * ${lanes_x}u + local.x;
  let w_column0 = (p.tile0 + group.x) * ${tile_vectors}u;
  for (var k0 = 0u; k0 < p.in4; k0 += ${depth}u) {
//#for s in loads_x
    {
      let i = lane + ${s * lanes}u;
      let k = k0 + i % ${depth}u;
      let row = min(group.y * ${tile_rows}u + i / ${depth}u, p.rows - 1u);
      var v = vec4<f32>();
      if (k < p.in4) {
        v = x[row * p.in4 + k];
      }
      x_tile[i] = v;
    }
//#end
//#for s in loads_w
    {
      let i = lane + ${s * lanes}u;
      let k = k0 * 4u + i / ${tile_vectors}u;
      var v = vec4<f32>();
      if (k < p.in4 * 4u) {
        let column = w_column0 + i % ${tile_vectors}u;
        v = weight(k * p.w4 + column, k, column);
//#if blocks
        let s = scales_of(k, column);
        v = fma(v, s.scale, s.offset);
//#end
      }
      w_tile[i] = v;
    }
//#end
    workgroupBarrier();
    if (row0 < p.rows) {
//#for k in depth
//#for i in rows
      let a_${k}_${i} = x_tile[(local.y * ${rows}u + ${i}u) * ${depth}u + ${k}u];
//#end
//#for q in 4
//#for j in vectors
      let w_${k}_${q}_${j} = w_tile[${k * 4 * tile_vectors + q * tile_vectors + j * lanes_x}u + local.x];
//#end
//#for i in rows
//#for j in vectors
      sum_${i}_${j} = fma(vec4<f32>(a_${k}_${i}[${q}]), w_${k}_${q}_${j}, sum_${i}_${j});
//#end
//#end
//#end
//#end
    }
    workgroupBarrier();
  }
