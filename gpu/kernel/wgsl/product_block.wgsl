// The sums of product.wgsl in the form "block": no workgroup memory.

  // Straight from storage: each number of x that is loaded serves ${vectors * 4} columns and each of w ${rows} rows.
//#for i in rows
  let x_${i} = min(row0 + ${i}u, p.rows - 1u) * p.in4;
//#end
  let steps = select(0u, p.in4, row0 < p.rows);
  var at = column0;
  for (var k = 0u; k < steps; k++) {
//#for i in rows
    let a_${i} = x[x_${i} + k];
//#end
//#if blocks
//#for j in vectors
    let s_${j} = scales_of(4u * k, column0 + ${j * lanes_x}u);
//#end
//#end
//#for q in 4
//#for j in vectors
//#if blocks
    let w_${q}_${j} = fma(weight(at + ${j * lanes_x}u, 4u * k + ${q}u, column0 + ${j * lanes_x}u), s_${j}.scale, s_${j}.offset);
//#else
    let w_${q}_${j} = weight(at + ${j * lanes_x}u, 4u * k + ${q}u, column0 + ${j * lanes_x}u);
//#end
//#end
//#for i in rows
//#for j in vectors
    sum_${i}_${j} = fma(vec4<f32>(a_${i}[${q}]), w_${q}_${j}, sum_${i}_${j});
//#end
//#end
    at += p.w4;
//#end
  }
