// Package engine runs one frozen base model over batches in which every row names the adapters it uses. Scoring many candidates
// of a search, serving many adapters at once and mixing modules are the same batched forward with different segments.
package engine

import (
	"context"
	"fmt"
	"io/fs"
	"runtime/debug"
	"sync"
	"time"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/chat"
	"github.com/medley-lora/medley/gpu/model"
	"github.com/medley-lora/medley/gpu/tokenizer"
	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/task"
)

// Options bounds an engine. The zero value works.
type Options struct {
	// Memory is how many bytes of activations one pass may plan for; larger batches are split. Default 256 MiB.
	Memory int64
	// MaxSource and MaxTarget are the most tokens of an input and of an output, the end token included; longer ones are cut
	// with a warning. Defaults 2048 and 256, as LoraHub's.
	MaxSource, MaxTarget int
	// Cache is how many bytes of keys and values the sequences that are generated at one time may come to need; others wait. A sequence that
	// needs more is generated alone. Default four times Memory.
	Cache int64
	// KeepCache is how long keys and values, up to Memory, stay after the last call of Generate, for calls whose sources begin alike.
	KeepCache time.Duration
	// Admit, if set, is asked before a base is loaded, of so many parameters and beside them so many bytes that stay in the blocks that they
	// are in; an error of its is Open's.
	Admit func(parameters, packed int64) error
	// Quantise turns the weights of linear maps into blocks of integers of 8 or 4 bits as they are loaded: "q8", "q4", or "" for as they
	// are. Maps whose inputs are no multiple of 32 stay as they are, and so do embeddings and maps that are in blocks already.
	// Engine.Quantised says what it costs. The backend must be a backend.Packer.
	Quantise string
	// Chat takes an input for a user's message and puts the model's chat template around it; the output is the answer.
	Chat bool
}

func (o Options) withDefaults() Options {
	if o.Memory == 0 {
		o.Memory = 256 << 20
	}
	if o.Cache == 0 {
		o.Cache = 4 * o.Memory
	}
	if o.MaxSource == 0 {
		o.MaxSource = 2048
	}
	if o.MaxTarget == 0 {
		o.MaxTarget = 256
	}
	return o
}

// Engine is a base model on a backend with the modules registered so far. It is safe for concurrent use.
type Engine struct {
	Tokenizer *tokenizer.Tokenizer

	options Options
	backend backend.Backend
	info    backend.Info
	model   family
	store   *checkpoint.Store
	changes []Quantised

	template chat.Template // its text is empty if there is none

	generator generator

	mu         sync.Mutex
	registered []module // by number; those given back are empty
	unused     []int    // the numbers given back
	modules    uint64   // that were ever registered
	current    *modules // what passes see of registered, nil after a change
}

// module is a registered adapter.
type module struct {
	id      uint64                      // that no other module ever has
	first   int                         // layer that it updates first; see Model.Layers
	factors map[string]backend.Resident // by map
}

// modules is what a pass sees of the registered adapters. It never changes, so passes under way do not notice registrations.
type modules struct {
	ids     []uint64                      // by module, as module.id
	first   []int                         // by module, as module.first
	factors map[string][]backend.Resident // by map, then by module; nil where a module leaves the map alone
}

// Open loads a base model from a folder in Hugging Face's layout, or from a GGUF file. ctx bounds the loading.
func Open(ctx context.Context, path string, b backend.Backend, opt Options) (*Engine, error) {
	f, err := OpenFolder(path)
	if err != nil {
		return nil, err
	}
	return f.open(ctx, b, opt)
}

// OpenFS is Open for a file system whose root is the folder; see checkpoint.OpenModelFS.
func OpenFS(ctx context.Context, fsys fs.FS, b backend.Backend, opt Options) (*Engine, error) {
	f, err := OpenFolderFS(fsys)
	if err != nil {
		return nil, err
	}
	return f.open(ctx, b, opt)
}

func (f *Folder) open(ctx context.Context, b backend.Backend, opt Options) (*Engine, error) {
	if opt.Admit != nil {
		parameters, packed, err := f.sizes(b, opt.Quantise)
		if err == nil {
			err = opt.Admit(parameters, packed)
		}
		if err != nil {
			f.Store.Close()
			return nil, err
		}
	}
	e := &Engine{Tokenizer: f.Tokenizer, options: opt.withDefaults(), backend: b, info: b.Info(), store: f.Store}
	e.template = f.template()
	e.generator.engine = e
	named, err := e.quantising(weights{f.named, ctx})
	if err == nil {
		e.model, err = f.load(named, b, opt.Chat)
	}
	if err != nil {
		f.Store.Close()
		return nil, err
	}
	debug.FreeOSMemory() // what reading the tokenizer and the weights has left would stay beside them
	return e, nil
}

// Close frees the model and every module. The backend stays open.
func (e *Engine) Close() error {
	e.generator.close()
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range e.registered {
		e.registered[i].free()
	}
	e.registered, e.current = nil, nil
	e.model.Free()
	return e.store.Close()
}

func (m *module) free() {
	for _, f := range m.factors {
		f.Free()
	}
	m.factors = nil
}

// Model is the base.
func (e *Engine) Model() Model { return e.model }

// Backend is what the engine runs on, or ran on before Close.
func (e *Engine) Backend() backend.Info { return e.info }

// AddModule uploads an adapter and returns the number that compositions call it by. An adapter that does not fit the base is refused,
// naming the first layer at fault; nothing is kept of it then.
func (e *Engine) AddModule(a *lora.Adapter) (int, error) {
	if err := Fits(e.model.Maps(), a); err != nil {
		return 0, err
	}
	m := module{first: firstLayer(a, e.model), factors: make(map[string]backend.Resident, len(a.Layers))}
	for _, l := range a.Layers {
		if err := e.upload(&m, l); err != nil {
			m.free()
			return 0, fault.In(fmt.Sprintf("module %s: %s", a.Name, l.Target), err)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.current = nil
	e.modules++
	m.id = e.modules
	if last := len(e.unused) - 1; last >= 0 {
		number := e.unused[last]
		e.unused, e.registered[number] = e.unused[:last], m
		return number, nil
	}
	e.registered = append(e.registered, m)
	return len(e.registered) - 1, nil
}

// upload gives the backend what a module does to one map, and to its transpose where that is used.
func (e *Engine) upload(m *module, l lora.Layer) (err error) {
	scale := float32(l.Scale)
	if m.factors[l.Target], err = e.backend.Factor(l.A, l.B, l.Rank, l.In, l.Out, scale); err != nil {
		delete(m.factors, l.Target)
		return err
	}
	if name, ok := e.model.Transposed(l.Target); ok {
		r, err := e.backend.Factor(model.Transpose(l.B, l.Out, l.Rank), model.Transpose(l.A, l.Rank, l.In), l.Rank, l.Out, l.In, scale)
		if err != nil {
			return err
		}
		m.factors[name] = r
	}
	return nil
}

// RemoveModule frees a module; its number may be given to another. No composition under way may use it.
func (e *Engine) RemoveModule(number int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.registered[number].free()
	e.unused, e.current = append(e.unused, number), nil
}

// Bytes is the memory that the backend holds for the base, its modules apart.
func (e *Engine) Bytes() int64 { return e.model.Bytes() }

// ModuleBytes is the memory that the backend holds for a module.
func (e *Engine) ModuleBytes(number int) int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	var n int64
	for _, f := range e.registered[number].factors {
		n += f.Bytes()
	}
	return n
}

// snapshot returns the modules as they stand. It costs nothing unless one came or went.
func (e *Engine) snapshot() *modules {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.current != nil {
		return e.current
	}
	e.current = &modules{factors: map[string][]backend.Resident{}}
	for number, m := range e.registered {
		e.current.ids, e.current.first = append(e.current.ids, m.id), append(e.current.first, m.first)
		for name, f := range m.factors {
			if e.current.factors[name] == nil {
				e.current.factors[name] = make([]backend.Resident, len(e.registered))
			}
			e.current.factors[name][number] = f
		}
	}
	return e.current
}

// Fits refuses an adapter with a layer that the base lacks or whose shape differs.
func Fits(maps map[string]model.Map, a *lora.Adapter) error {
	for _, l := range a.Layers {
		m, ok := maps[l.Target]
		if !ok {
			return fault.New(fault.Invalid, "module "+a.Name+": "+l.Target, "the base model has no such linear map")
		}
		if m.In != l.In || m.Out != l.Out {
			return fault.New(fault.Invalid, "module "+a.Name+": "+l.Target,
				"updates a map of %d to %d; the base model's is %d to %d", l.In, l.Out, m.In, m.Out)
		}
	}
	return nil
}

// Example is an encoded input and its target, end tokens included.
type Example struct {
	Source []int32
	Target []int32
}

// Encode turns text into tokens. A side longer than the engine takes is cut, and a warning says so: of T5's inputs and of all outputs the
// end goes, but for the end token, of other inputs the beginning.
func (e *Engine) Encode(examples []task.Example) (encoded []Example, warnings []string) {
	encoded = make([]Example, len(examples))
	for i, x := range examples {
		source, target := e.model.encode(e.Tokenizer, x.Input, x.Output)
		var cut string
		if encoded[i].Source, cut = e.cutSource(source); cut != "" {
			warnings = append(warnings, fmt.Sprintf("example %d: input %s", i+1, cut))
		}
		if most := e.options.MaxTarget; len(target) > most {
			warnings = append(warnings, fmt.Sprintf("example %d: output %s", i+1, cutTo(len(target), most)))
			target = append(target[:most-1:most-1], e.model.end(e.Tokenizer))
		}
		encoded[i].Target = target
	}
	return encoded, warnings
}

// EncodeInput turns one input into tokens; the warning says whether it was cut.
func (e *Engine) EncodeInput(text string) (ids []int32, warning string) {
	return e.cutSource(e.model.prompt(e.Tokenizer, text))
}

func (e *Engine) cutSource(ids []int32) (cut []int32, warning string) {
	most := e.options.MaxSource
	if len(ids) <= most {
		return ids, ""
	}
	return e.model.cut(e.Tokenizer, ids, most), cutTo(len(ids), most)
}

// Pieces returns the text that each token adds: none for the end token, and for one that ends inside a character.
func (e *Engine) Pieces(ids []int32) []string {
	decoder, texts := e.Tokenizer.NewDecoder(), make([]string, len(ids))
	for i, id := range ids {
		texts[i] = decoder.Next(id)
	}
	return texts
}

func cutTo(tokens, most int) string { return fmt.Sprintf("cut from %d to %d tokens", tokens, most) }

// weights are what a model is loaded from until ctx ends.
type weights struct {
	model.Weights
	ctx context.Context
}

func (w weights) Float32(name string) ([]float32, error) {
	if err := w.ctx.Err(); err != nil {
		return nil, err
	}
	return w.Weights.Float32(name)
}

// Packed implements model.PackedWeights.
func (w weights) Packed(name string) (backend.Packed, bool) {
	if p, ok := w.Weights.(model.PackedWeights); ok && w.ctx.Err() == nil {
		return p.Packed(name)
	}
	return backend.Packed{}, false
}
