// The sums of product.wgsl in the form "block": no workgroup memory.
{{define "product_block"}}
  // Straight from storage: each number of x that is loaded serves {{mul .Vectors 4}} columns and each of w {{.Rows}} rows.
{{- range $i := .Rows}}
  let x_{{$i}} = min(row0 + {{$i}}u, p.rows - 1u) * p.in4;
{{- end}}
  let steps = select(0u, p.in4, row0 < p.rows);
  var at = column0;
  for (var k = 0u; k < steps; k++) {
{{- range $i := .Rows}}
    let a_{{$i}} = x[x_{{$i}} + k];
{{- end}}
{{- range $q := 4}}
{{- range $j := $.Vectors}}
    let w_{{$q}}_{{$j}} = weight(at + {{mul $j $.LanesX}}u);
{{- end}}
{{- range $i := $.Rows}}{{range $j := $.Vectors}}
    sum_{{$i}}_{{$j}} = fma(vec4<f32>(a_{{$i}}[{{$q}}]), w_{{$q}}_{{$j}}, sum_{{$i}}_{{$j}});
{{- end}}{{end}}
    at += p.w4;
{{- end}}
  }
{{- end}}
