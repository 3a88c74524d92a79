// Package peft reads and writes LoRA adapters as Hugging Face PEFT keeps them: a folder with adapter_config.json and
// adapter_model.safetensors (or, if asked for, the older adapter_model.bin).
//
// An adapter is accepted only if everything in it that changes the numbers is understood: its fields are listed in one table,
// and what is not supported is refused by name, never ignored. Held to PEFT 0.21 (tuners/lora/config.py and model.py).
package peft

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
)

const (
	configName  = "adapter_config.json"
	weightsName = "adapter_model.safetensors"
	pickleName  = "adapter_model.bin"

	maxConfig = 4 << 20 // bytes; patterns for 10,000 layers take about 1 MB
)

// LayerInfo describes the update of one linear map without its weights; the fields are those of lora.Layer.
type LayerInfo struct {
	Target  string
	In, Out int
	Rank    int
	Scale   float64
}

// Module is an adapter whose configuration and tensor headers have been checked and whose weights have not been read. It
// holds no file open.
type Module struct {
	Name   string // of the folder
	Config Config
	Layers []LayerInfo // sorted by Target

	names []halves // of the tensors, beside Layers
	open  func() (config []byte, store *checkpoint.Store, err error)
}

// OpenOptions are what Open is allowed to do.
type OpenOptions struct {
	// AllowPickle accepts adapter_model.bin where there is no adapter_model.safetensors. Nothing in it runs, but it is an old
	// format that only files of one's own should need; never set it for an upload.
	AllowPickle bool
}

// Open reads the configuration and the tensor headers of an adapter folder.
func Open(dir string, options OpenOptions) (*Module, error) {
	name := filepath.Base(dir)
	if absolute, err := filepath.Abs(dir); err == nil {
		name = filepath.Base(absolute) // "." has a name too
	}
	return OpenFS(os.DirFS(dir), name, options)
}

// OpenFS is Open for a file system whose root is the adapter's folder, called name. Its files must be readable at an offset
// (io.ReaderAt).
func OpenFS(fsys fs.FS, name string, options OpenOptions) (*Module, error) {
	return newModule(name, func() ([]byte, *checkpoint.Store, error) { return openFolder(fsys, options) })
}

// Parse is Open for the contents of the two files, which must not change. Weights must be safetensors.
func Parse(name string, config, weights []byte) (*Module, error) {
	return newModule(name, func() ([]byte, *checkpoint.Store, error) {
		if len(config) > maxConfig {
			return nil, nil, fault.New(fault.TooLarge, configName, "has %d bytes; the limit is %d", len(config), maxConfig)
		}
		store, err := checkpoint.Parse(weights)
		return config, store, fault.In(weightsName, err)
	})
}

func newModule(name string, open func() ([]byte, *checkpoint.Store, error)) (*Module, error) {
	m := &Module{Name: name, open: open}
	store, err := m.read()
	if err != nil {
		return nil, err
	}
	return m, store.Close()
}

// read fills Config and Layers and returns the open weights.
func (m *Module) read() (*checkpoint.Store, error) {
	text, store, err := m.open()
	if err != nil {
		return nil, err
	}
	if m.Config, err = parseConfig(text); err == nil {
		m.Layers, m.names, err = findLayers(store, m.Config)
	}
	if err != nil {
		store.Close()
		return nil, err
	}
	return store, nil
}

func openFolder(fsys fs.FS, options OpenOptions) ([]byte, *checkpoint.Store, error) {
	config, err := checkpoint.ReadFile(fsys, configName, maxConfig)
	if err != nil {
		return nil, nil, fault.In(configName, err)
	}
	store, err := checkpoint.OpenFileFS(fsys, weightsName)
	if fault.CodeOf(err) != fault.NotFound {
		return config, store, fault.In(weightsName, err)
	}
	pickled, pickleErr := checkpoint.OpenPickleFS(fsys, pickleName)
	if fault.CodeOf(pickleErr) == fault.NotFound {
		return nil, nil, fault.In(weightsName, err)
	}
	if !options.AllowPickle {
		if pickleErr == nil {
			pickled.Close()
		}
		return nil, nil, fault.New(fault.Unsupported, pickleName,
			"is a PyTorch pickle, which is not read unless allowed; save the adapter as safetensors")
	}
	return config, pickled, fault.In(pickleName, pickleErr)
}

// Digest is the SHA-256, in hexadecimal, of what the adapter is made of: the lines "DIGEST NAME\n" of the configuration and
// the weights, each with its own SHA-256. Two adapters of one name and different content differ in it.
func (m *Module) Digest() (string, error) {
	config, store, err := m.open()
	if err != nil {
		return "", err
	}
	defer store.Close()
	weights, err := store.Digest()
	if err != nil {
		return "", fault.In("weights", err)
	}
	h := sha256.Sum256(fmt.Appendf(nil, "%x %s\n%s weights\n", sha256.Sum256(config), configName, weights))
	return hex.EncodeToString(h[:]), nil
}

// Load reads the weights into fresh slices, once, and refuses those that are not finite. The files are closed when it
// returns. If they no longer say what they said when the module was opened, that is an error.
func (m *Module) Load() (*lora.Adapter, error) {
	return m.load(func(string) bool { return true })
}

// LoadLayers is Load for the layers of some targets; the weights of others are not read. A target that there is not is
// fault.NotFound.
func (m *Module) LoadLayers(targets []string) (*lora.Adapter, error) {
	for _, target := range targets {
		if !slices.ContainsFunc(m.Layers, func(l LayerInfo) bool { return l.Target == target }) {
			return nil, fault.New(fault.NotFound, "layer "+shortened(target), "is not in the adapter")
		}
	}
	return m.load(func(target string) bool { return slices.Contains(targets, target) })
}

func (m *Module) load(wanted func(target string) bool) (*lora.Adapter, error) {
	now := &Module{open: m.open}
	store, err := now.read()
	if err != nil {
		return nil, err
	}
	defer store.Close()
	if !reflect.DeepEqual(now.Config, m.Config) || !reflect.DeepEqual(now.Layers, m.Layers) {
		return nil, fault.New(fault.Invalid, "", "the adapter changed after it was opened")
	}
	adapter := &lora.Adapter{Name: m.Name, Base: m.Config.BaseModel, Layers: make([]lora.Layer, 0, len(m.Layers))}
	for i, l := range m.Layers {
		if !wanted(l.Target) {
			continue
		}
		a, err := loadTensor(store, now.names[i].a, l.Rank*l.In)
		if err != nil {
			return nil, err
		}
		b, err := loadTensor(store, now.names[i].b, l.Out*l.Rank)
		if err != nil {
			return nil, err
		}
		adapter.Layers = append(adapter.Layers, lora.Layer{Target: l.Target, In: l.In, Out: l.Out, Rank: l.Rank, Scale: l.Scale, A: a, B: b})
	}
	return adapter, store.Unchanged()
}

func loadTensor(store *checkpoint.Store, name string, elements int) ([]float32, error) {
	values := make([]float32, elements)
	if err := store.CopyFloat32(name, values); err != nil {
		return nil, err
	}
	return values, checkpoint.CheckFinite(name, values)
}
