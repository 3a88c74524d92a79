// The end of product.wgsl with LogSoftmax: what one tile of columns adds to the log-softmax of its rows.

  // Each invocation's columns first, then those of the lanes beside it, in a fixed order.
//#for i in rows
  {
    let row = row0 + ${i}u;
    let target_column = tables[p.target0 + min(row, p.rows - 1u)];
    var largest = vec4<f32>(LOWEST);
//#for j in vectors
    let column_${j} = vec4<u32>((column0 + ${j * lanes_x}u) * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
    let there_${j} = column_${j} < vec4<u32>(p.columns4);
    largest = max(largest, select(vec4<f32>(LOWEST), sum_${i}_${j}, there_${j}));
//#end
    let highest = max(max(largest.x, largest.y), max(largest.z, largest.w));
    var total = vec4<f32>();
//#for j in vectors
    total += select(vec4<f32>(), exp(sum_${i}_${j} - highest), there_${j});
    let hit_${j} = there_${j} & (vec4<u32>(p.y0) + column_${j} == vec4<u32>(target_column));
    if (row < p.rows && any(hit_${j})) {
      chosen[row] = dot(select(vec4<f32>(), sum_${i}_${j}, hit_${j}), vec4<f32>(1.0));
    }
//#end
    var mine = vec2<f32>(highest, total.x + total.y + total.z + total.w);
    lanes[local.y * ${lanes_x}u + local.x] = mine;
    workgroupBarrier();
    if (local.x == 0u && row < p.rows) {
      for (var i = 1u; i < ${lanes_x}u; i++) {
        mine = join(mine, lanes[local.y * ${lanes_x}u + i]);
      }
      sums[row * p.tiles + p.sums0 + p.tile0 + group.x] = mine;
    }
    workgroupBarrier();
  }
//#end
