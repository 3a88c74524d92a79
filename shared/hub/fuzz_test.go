package hub

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

func FuzzNames(f *testing.F) {
	for _, seed := range []string{"o/m", "hf://o/m@v1", "o/m/a.gguf@refs/pr/1", "../x", "o/m@..", "o/con.gguf"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := ParseName(text)
		if err != nil {
			return
		}
		if again, err := ParseName(n.String()); err != nil || again != n {
			t.Fatalf("%q is %+v, then %+v, %v", text, n, again, err)
		}
		root := t.TempDir()
		s := storage{repo: n.Repo, cache: root, root: filepath.Join(root, folderName(n.Repo))}
		for _, p := range []string{s.ref(n.revision()), s.pointer("c", n.File+"x"), s.lock("e")} {
			if inside, err := filepath.Rel(root, p); err != nil || !filepath.IsLocal(inside) {
				t.Fatalf("%q reaches %s", text, inside)
			}
		}
	})
}

// FuzzListings: whatever a listing or an index says, what is chosen of it stays in its folder.
func FuzzListings(f *testing.F) {
	f.Add([]byte(`[{"type": "file", "path": "config.json", "size": 1, "oid": "`+strings.Repeat("a", 40)+`"}]`), []byte(`{"weight_map": {"a": "model.safetensors"}}`))
	f.Add([]byte(`[{"type": "file", "path": "../x", "lfs": {"oid": "x", "size": 1e30}}]`), []byte(`{`))
	f.Fuzz(func(t *testing.T, listing, index []byte) {
		var entries []treeEntry
		if json.Unmarshal(listing, &entries) != nil {
			return
		}
		var all []File
		for _, e := range entries {
			file, err := e.file()
			if err != nil {
				continue
			}
			if !filepath.IsLocal(filepath.FromSlash(file.Path)) || file.Size < 0 {
				t.Fatalf("%+v was accepted", file)
			}
			all = append(all, file)
		}
		_, _ = choose(all, Name{Repo: "o/m"}, Want{Pickles: true}) // neither panics
		_, _ = shards(index, modelIndex, all)
	})
}

// FuzzKeptListing: a listing on disk may be anyone's.
func FuzzKeptListing(f *testing.F) {
	f.Add([]byte(`{"format_version": 1, "files": {"config.json": {"size": 1, "blob_id": "` + strings.Repeat("a", 40) + `"}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, file := range parseListing(data) {
			if file.check() != nil {
				t.Fatalf("%+v was accepted", file)
			}
		}
	})
}
