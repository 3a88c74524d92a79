package webgpu
import ("testing";"fmt";"time"
"github.com/medley-lora/medley/gpu/backend"
"github.com/medley-lora/medley/gpu/engine"
"github.com/medley-lora/medley/gpu/engine/enginetest"
"github.com/medley-lora/medley/gpu/kernel"
)
func TestZF(t *testing.T){
 for _,st:=range []kernel.Storage{kernel.F16,kernel.Int8}{ for _,tol:=range []float64{1e-3,5e-3,2e-2,5e-2,2e-1}{
  t.Run(fmt.Sprint(st,tol),func(t *testing.T){ z:=enginetest.Open(t,open(t,openDevice(t),Options{Storage:st}),engine.Options{}); z.Forward(t,tol); z.Variants(t,tol)}) }}
}
func TestZL(t *testing.T){
 b:=open(t,openDevice(t),Options{})
 t0:=time.Now()
 const v,d=32128,2048
 data:=make([]float32,v*d); for i:=range data { data[i]=float32(i%977)/977-0.5 }
 tb:=must[backend.Resident](t)(b.Table(data,v,d)); fmt.Println("table",time.Since(t0), len(tb.(*resident).windows), tb.Bytes())
 t0=time.Now(); h:=must[backend.Resident](t)(b.Matrix(data,v,d)); fmt.Println("matrix",time.Since(t0),len(h.(*resident).windows))
 p:=b.Begin(t.Context()); x:=p.Embed(tb,[]int32{0,16384,32127,5}); got:=must[[]float32](t)(p.Read(x))
 for i,id:=range []int{0,16384,32127,5} { for j:=range d { if got[i*d+j]!=data[id*d+j] {t.Fatal(i,j)} } }
 t0=time.Now(); fmt.Println(must[[]float32](t)(p.Read(p.LogProbs(x,h,[]int32{3,20000,32127,17000}))),time.Since(t0))
 p.End()
 p=b.Begin(t.Context()); y:=p.Linear(p.Zeros(3000,2048),must[backend.Resident](t)(b.Matrix(data[:2048*5120],5120,2048)),backend.Linear{}); t0=time.Now(); must[[]float32](t)(p.Read(p.Gather(y,[]int32{1}))); fmt.Println("63 GFLOP",time.Since(t0)); p.End()
}
