package checkpoint

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/medley-lora/medley/shared/fault"
)

const (
	maxIndex  = 64 << 20 // bytes of an index file
	maxShards = 4096
)

// OpenModel opens the weights of a model's folder as Hugging Face lays it out: model.safetensors, else the shards named by
// model.safetensors.index.json, else pytorch_model.bin or its shards.
func OpenModel(dir string) (*Store, error) { return OpenModelFS(os.DirFS(dir)) }

// OpenModelFS is OpenModel for a file system whose root is the folder. Its files must be readable at an offset (io.ReaderAt);
// those of os.DirFS are memory-mapped, of others a tensor is copied when it is asked for.
func OpenModelFS(fsys fs.FS) (*Store, error) {
	for _, kind := range []struct {
		single, index, suffix string
		read                  reader
	}{
		{"model.safetensors", "model.safetensors.index.json", ".safetensors", readSafetensors},
		{"pytorch_model.bin", "pytorch_model.bin.index.json", ".bin", readPickle},
	} {
		store, err := openShards(fsys, []string{kind.single}, kind.read)
		if !errors.Is(err, fs.ErrNotExist) {
			return store, err
		}
		weightMap, err := readIndex(fsys, kind.index, kind.suffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fault.In(kind.index, err)
		}
		return openIndexed(fsys, kind.index, weightMap, kind.read)
	}
	return nil, fault.New(fault.NotFound, "", "holds no model.safetensors, no shards of one and no pytorch_model.bin")
}

// openIndexed opens all the shards that weightMap (tensor → file) names and holds them to it.
func openIndexed(fsys fs.FS, index string, weightMap map[string]string, read reader) (*Store, error) {
	shards := slices.Compact(slices.Sorted(maps.Values(weightMap)))
	if len(shards) > maxShards {
		return nil, fault.New(fault.TooLarge, index, "names %d files; the limit is %d", len(shards), maxShards)
	}
	store, err := openShards(fsys, shards, read)
	if err != nil {
		return nil, err
	}
	for name, file := range weightMap {
		if e, ok := store.entries[name]; !ok || e.source.name != file {
			store.Close()
			return nil, fault.New(fault.Invalid, index, "%s is not in %.100q", tensorField(name), file)
		}
	}
	return store, nil
}

func openShards(fsys fs.FS, shards []string, read reader) (*Store, error) {
	store := newStore()
	for _, shard := range shards {
		src, err := openSource(fsys, shard)
		if err == nil {
			// What the folder calls it, which in a Hugging Face cache is a link to a blob of another name.
			src.name = shard
			var entries map[string]entry
			var metadata map[string]string
			if entries, metadata, err = read(src); err == nil {
				err = store.add(src, entries, metadata)
			} else {
				src.Close()
			}
		}
		if err != nil {
			store.Close()
			return nil, fault.In(shard, err)
		}
	}
	return store.sorted(), nil
}

// readIndex reads weight_map (tensor → file) and checks that every file is a plain name in the folder.
func readIndex(fsys fs.FS, name, suffix string) (map[string]string, error) {
	data, err := ReadFile(fsys, name, maxIndex)
	if err != nil {
		return nil, err
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "", "is not the JSON of an index: %v", err)
	}
	if len(index.WeightMap) == 0 || len(index.WeightMap) > maxTensors {
		return nil, fault.New(fault.Invalid, "weight_map", "names %d tensors; between 1 and %d are expected",
			len(index.WeightMap), maxTensors)
	}
	for tensor, file := range index.WeightMap {
		if !plainName(file) || !strings.HasSuffix(file, suffix) {
			return nil, fault.New(fault.Invalid, "weight_map", "%s is said to be in %.100q, which is not the plain name of a %s file",
				tensorField(tensor), file, suffix)
		}
	}
	return index.WeightMap, nil
}

// plainName tells whether name stays in its folder on every system: separators and drive letters of any of them count.
func plainName(name string) bool {
	return filepath.IsLocal(name) && !strings.ContainsAny(name, `/\:`+"\x00") && len(name) <= 255
}
