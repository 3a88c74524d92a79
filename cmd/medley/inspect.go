package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/hub"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/peft"
)

type inspectCommand struct {
	Folders []string `arg:"" name:"folders" help:"Base models and adapters: folders, patterns, or ORG/NAME on the Hub; or files of weights."`
	Base    string   `placeholder:"DIR" help:"Base model, a folder or ORG/NAME on the Hub: also say whether the adapters fit it."`
	JSON    bool     `help:"Print the result as one JSON object."`
}

// inspectOutput is what inspect prints with --json.
type inspectOutput struct {
	Folders []inspected `json:"folders"`
}

// The kinds of things that inspect knows.
const (
	kindBase    = "base model"
	kindAdapter = "adapter"
	kindWeights = "weights"
	kindUnknown = "unknown"
)

// inspected is what one folder or file is. What was not found out is left out.
type inspected struct {
	Path     string `json:"path"` // as typed
	Kind     string `json:"kind"`
	Accepted bool   `json:"accepted"`
	Reason   string `json:"reason,omitempty"` // why it is refused

	Parameters int64  `json:"parameters,omitempty"`
	Bytes      int64  `json:"bytes,omitempty"` // of the tensors
	Digest     string `json:"digest,omitempty"`

	Base    *inspectedBase    `json:"base,omitempty"`
	Adapter *inspectedAdapter `json:"adapter,omitempty"`
	Weights *inspectedWeights `json:"weights,omitempty"`
}

func (c *inspectCommand) Run(a *app) error {
	var base *baseFolder
	if c.Base != "" {
		dir, err := a.place("--base", c.Base, hub.Base)
		if err != nil {
			return err
		}
		if base, err = openBaseFolder(dir); err != nil {
			return fault.In("--base "+c.Base, err)
		}
		defer base.Store.Close()
	}
	paths := expand(c.Folders)
	out := inspectOutput{Folders: make([]inspected, 0, len(paths))}
	refused := 0
	shown := a.startProgress("inspecting", len(paths))
	for i, path := range paths {
		if err := a.ctx.Err(); err != nil {
			shown.end()
			return err
		}
		x := a.inspect(path, base)
		if !x.Accepted {
			refused++
		}
		out.Folders = append(out.Folders, x)
		shown.set(i+1, "")
	}
	shown.end()
	if c.JSON {
		if err := a.printJSON(out); err != nil {
			return err
		}
	} else {
		out.print(a)
	}
	if refused > 0 {
		return fmt.Errorf("%d of %d would be refused", refused, len(paths)) //nolint:err113 // not a fault of the flags: exit code 1
	}
	return nil
}

// expand replaces patterns by what they match; a path that exists, or a pattern that matches nothing, stays as it is.
func expand(paths []string) []string {
	var all []string
	for _, path := range paths {
		if _, err := os.Stat(path); err != nil {
			if found, err := filepath.Glob(path); err == nil && len(found) > 0 {
				all = append(all, found...)
				continue
			}
		}
		all = append(all, path)
	}
	return all
}

// inspect never fails: what is wrong becomes the reason of a refusal.
func (a *app) inspect(typed string, base *baseFolder) inspected {
	x := inspected{Path: typed, Kind: kindUnknown}
	path, err := a.place("", typed, hub.Any)
	if err != nil {
		x.Reason = err.Error()
		return x
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		err = checkpoint.IOFault(err, "read")
	case strings.HasSuffix(path, ".gguf"):
		x.Kind = kindBase
		err = x.lookAtBase(path)
	case !info.IsDir():
		x.Kind = kindWeights
		err = x.lookAtWeights(path)
	case isAdapter(path):
		x.Kind = kindAdapter
		err = x.lookAtAdapter(path, base)
	case isFile(filepath.Join(path, "config.json")):
		x.Kind = kindBase
		err = x.lookAtBase(path)
	default:
		err = errors.New("holds neither adapter_config.json, as an adapter does, nor config.json, as a base model does")
	}
	x.Accepted = err == nil
	if err != nil {
		x.Reason = err.Error()
	}
	return x
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}

// inspectedBase describes a base model.
type inspectedBase struct {
	Family     string   `json:"family"`
	Encoder    int      `json:"encoder_layers"`
	Decoder    int      `json:"decoder_layers"`
	Width      int      `json:"width"`
	Heads      int      `json:"heads"`
	KVHeads    int      `json:"kv_heads"` // heads of keys and values
	Vocabulary int      `json:"vocabulary"`
	Types      []string `json:"types"`     // of the tensors
	Tokenizer  int      `json:"tokenizer"` // tokens
}

func (x *inspected) lookAtBase(path string) error {
	b, err := openBaseFolder(path)
	if err != nil {
		return err
	}
	defer b.Store.Close()
	x.Parameters, x.Bytes = b.Store.Size()
	x.Base = &inspectedBase{
		Family: b.Summary.Family, Encoder: b.Summary.EncoderLayers, Decoder: b.Summary.DecoderLayers, Width: b.Summary.Width,
		Heads: b.Summary.Heads, KVHeads: b.Summary.KVHeads, Vocabulary: b.Summary.VocabSize, Types: typesOf(b.Store), Tokenizer: b.Tokenizer.VocabSize(),
	}
	x.Digest, err = digestOf(path)
	return err
}

func (b *inspectedBase) String() string {
	layers, heads := fmt.Sprint(b.Decoder), fmt.Sprint(b.Heads)
	if b.Encoder > 0 {
		layers = fmt.Sprintf("%d + %d", b.Encoder, b.Decoder)
	}
	if b.KVHeads != b.Heads {
		heads = fmt.Sprintf("%d (%d)", b.Heads, b.KVHeads)
	}
	return fmt.Sprintf("%s of %s layers, width %d, %s heads, vocabulary %d, %s; tokenizer of %d tokens",
		b.Family, layers, b.Width, heads, b.Vocabulary, strings.Join(b.Types, " and "), b.Tokenizer)
}

// inspectedAdapter describes an adapter.
type inspectedAdapter struct {
	Ranks   [2]int     `json:"ranks"`   // smallest and largest
	Scales  [2]float64 `json:"scales"`  // the same
	Targets []string   `json:"targets"` // last parts of the maps' names
	Layers  int        `json:"layers"`
	Base    string     `json:"base"`           // that it names
	Fits    *bool      `json:"fits,omitempty"` // --base
}

func (x *inspected) lookAtAdapter(path string, base *baseFolder) error {
	m, err := peft.Open(path, peft.OpenOptions{AllowPickle: true})
	if err != nil {
		return err
	}
	x.Adapter = summarise(m)
	for _, l := range m.Layers {
		x.Parameters += int64(l.Rank) * int64(l.In+l.Out)
	}
	if x.Digest, err = m.Digest(); err != nil {
		return err
	}
	if x.Bytes, err = bytesOf(path); err != nil {
		return err
	}
	if _, err := m.Load(); err != nil { // numbers that are not finite are found by reading them
		return err
	}
	if base != nil {
		err = engine.Fits(base.maps, withoutNumbers(m))
		x.Adapter.Fits = new(bool)
		*x.Adapter.Fits = err == nil
	}
	return err
}

// bytesOf is the size of an adapter's weights.
func bytesOf(folder string) (int64, error) {
	info, err := os.Stat(filepath.Join(folder, "adapter_model.safetensors"))
	if os.IsNotExist(err) {
		info, err = os.Stat(filepath.Join(folder, "adapter_model.bin"))
	}
	if err != nil {
		return 0, checkpoint.IOFault(err, "read")
	}
	return info.Size(), nil
}

// withoutNumbers is the adapter as far as its shapes go.
func withoutNumbers(m *peft.Module) *lora.Adapter {
	a := &lora.Adapter{Name: m.Name}
	for _, l := range m.Layers {
		a.Layers = append(a.Layers, lora.Layer{Target: l.Target, In: l.In, Out: l.Out, Rank: l.Rank, Scale: l.Scale})
	}
	return a
}

func summarise(m *peft.Module) *inspectedAdapter {
	first := m.Layers[0]
	s := &inspectedAdapter{
		Ranks: [2]int{first.Rank, first.Rank}, Scales: [2]float64{first.Scale, first.Scale}, Layers: len(m.Layers), Base: m.Config.BaseModel,
	}
	names := map[string]bool{}
	for _, l := range m.Layers {
		s.Ranks = [2]int{min(s.Ranks[0], l.Rank), max(s.Ranks[1], l.Rank)}
		s.Scales = [2]float64{min(s.Scales[0], l.Scale), max(s.Scales[1], l.Scale)}
		names[l.Target[strings.LastIndex(l.Target, ".")+1:]] = true
	}
	s.Targets = sortedKeys(names)
	return s
}

func (a *inspectedAdapter) String() string {
	text := "rank " + span(a.Ranks) + ", scale " + span(a.Scales) + ", " + fmt.Sprintf("%s in %d places", strings.Join(a.Targets, ", "), a.Layers)
	if a.Base != "" {
		text += ", for " + printable(a.Base)
	}
	return text
}

// span is one number, or the smallest and the largest.
func span[T int | float64](v [2]T) string {
	if v[0] == v[1] {
		return fmt.Sprintf("%.4g", float64(v[0]))
	}
	return fmt.Sprintf("%.4g to %.4g", float64(v[0]), float64(v[1]))
}

// inspectedWeights describes a file of tensors.
type inspectedWeights struct {
	Tensors int      `json:"tensors"`
	Types   []string `json:"types"`
}

func (x *inspected) lookAtWeights(path string) error {
	open := checkpoint.OpenFile
	if strings.HasSuffix(path, ".bin") || strings.HasSuffix(path, ".pt") || strings.HasSuffix(path, ".pth") {
		open = checkpoint.OpenPickle
	}
	store, err := open(path)
	if err != nil {
		return err
	}
	defer store.Close()
	x.Parameters, x.Bytes = store.Size()
	x.Weights = &inspectedWeights{Tensors: len(store.Names()), Types: typesOf(store)}
	x.Digest, err = store.Digest()
	return err
}

func (w *inspectedWeights) String() string {
	return fmt.Sprintf("%d tensors, %s", w.Tensors, strings.Join(w.Types, " and "))
}

// print shows one line per folder.
func (o *inspectOutput) print(a *app) {
	t := newTable(a.stdout, "path", "is", "parameters", "size", "SHA-256", "", "")
	for _, x := range o.Folders {
		verdict := "accepted"
		if !x.Accepted {
			verdict = "refused"
		}
		t.AppendRow(table.Row{printable(x.Path), x.Kind, counted(x.Parameters), sized(x.Bytes), x.Digest[:min(12, len(x.Digest))], verdict, x.summary()})
	}
	t.Render()
}

// summary is what the last column says: why it is refused, or what it holds.
func (x *inspected) summary() string {
	switch {
	case !x.Accepted:
		return printable(x.Reason)
	case x.Base != nil:
		return x.Base.String()
	case x.Adapter != nil:
		return x.Adapter.String()
	case x.Weights != nil:
		return x.Weights.String()
	}
	return ""
}
