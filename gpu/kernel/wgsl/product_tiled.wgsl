// The sums of product.wgsl in the form "tiled": both tiles pass through workgroup memory.
{{define "product_tiled"}}
  // Through workgroup memory: {{mul .Depth 4}} k at a time of both tiles are loaded together, and then serve every invocation.
  let lane = local.y * {{.LanesX}}u + local.x;
  let w_column0 = (p.tile0 + group.x) * {{.TileVectors}}u;
  for (var k0 = 0u; k0 < p.in4; k0 += {{.Depth}}u) {
{{- range $s := .LoadsX}}
    {
      let i = lane + {{mul $s $.Lanes}}u;
      let k = k0 + i % {{$.Depth}}u;
      let row = min(group.y * {{$.TileRows}}u + i / {{$.Depth}}u, p.rows - 1u);
      var v = vec4<f32>();
      if (k < p.in4) {
        v = x[row * p.in4 + k];
      }
      x_tile[i] = v;
    }
{{- end}}
{{- range $s := .LoadsW}}
    {
      let i = lane + {{mul $s $.Lanes}}u;
      let k = k0 * 4u + i / {{$.TileVectors}}u;
      var v = vec4<f32>();
      if (k < p.in4 * 4u) {
        v = weight(k * p.w4 + w_column0 + i % {{$.TileVectors}}u);
      }
      w_tile[i] = v;
    }
{{- end}}
    workgroupBarrier();
    if (row0 < p.rows) {
{{- range $k := .Depth}}
{{- range $i := $.Rows}}
      let a_{{$k}}_{{$i}} = x_tile[(local.y * {{$.Rows}}u + {{$i}}u) * {{$.Depth}}u + {{$k}}u];
{{- end}}
{{- range $q := 4}}
{{- range $j := $.Vectors}}
      let w_{{$k}}_{{$q}}_{{$j}} = w_tile[{{add (mul (add (mul $k 4) $q) $.TileVectors) (mul $j $.LanesX)}}u + local.x];
{{- end}}
{{- range $i := $.Rows}}{{range $j := $.Vectors}}
      sum_{{$i}}_{{$j}} = fma(vec4<f32>(a_{{$k}}_{{$i}}[{{$q}}]), w_{{$k}}_{{$q}}_{{$j}}, sum_{{$i}}_{{$j}});
{{- end}}{{end}}
{{- end}}
{{- end}}
    }
    workgroupBarrier();
  }
{{- end}}
