// A pointwise function, times another tensor if there is one: y = f(a) · b.
//   relu: max(0, x)    silu: x / (1 + exp(−x))
//   gelu_new (arXiv 1606.08415): 0.5·x·(1 + tanh(u)), u = √(2/π)·(x + 0.044715·x³), which is x / (1 + exp(−2u))
//
//   a, b, y  [count] vec4s   each function is 0 at 0, so the zeros beyond a row's width stay
//
// One invocation computes one vec4. Dispatch: vec4s / ${lanes}.

struct Parameters {
  count: u32,
}

@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;
//#if gated
@group(0) @binding(1) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> p: Parameters;
//#else
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> p: Parameters;
//#end

// sigmoid_times is x / (1 + exp(−u)). Beyond 80 the exponential would leave the range of f32 without changing the result.
fn sigmoid_times(x: vec4<f32>, u: vec4<f32>) -> vec4<f32> {
  return x / (1.0 + exp(min(-u, vec4<f32>(80.0))));
}

fn activate(x: vec4<f32>) -> vec4<f32> {
//#if activation == relu
  return max(x, vec4<f32>());
//#else if activation == silu
  return sigmoid_times(x, x);
//#else
  return sigmoid_times(x, 1.5957691216057308 * (x + 0.044715 * x * x * x));
//#end
}

@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * ${lanes}u + lane;
  if (i < p.count) {
//#if gated
    y[i] = activate(a[i]) * b[i];
//#else
    y[i] = activate(a[i]);
//#end
  }
}
