package tokenizer

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/medley-lora/medley/shared/zoo"
	"github.com/medley-lora/medley/shared/zoo/zootest"
)

// golden is testdata/golden.json: what Transformers made of hardTexts and flagTexts, each followed by random lines. To renew it:
// MEDLEY_PEERS_PYTHON=… go test -tags peers ./gpu/tokenizer -run TestPeers -update
type golden struct {
	MadeWith    map[string]string
	Base, Flags []zootest.Token
}

var goldenFile = filepath.Join("testdata", "golden.json")

// file returns a file of the zoo's base model.
func file(t testing.TB, name string) []byte {
	t.Helper()
	data, err := fs.ReadFile(zoo.Files(), "base/"+name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// sources returns the zoo's tokenizer as read from each kind of file.
func sources(t testing.TB) map[string]*Tokenizer {
	t.Helper()
	fromJSON, err := FromJSON(file(t, "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	fromSpiece, err := FromSentencePiece(file(t, "spiece.model"), 100)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]*Tokenizer{"tokenizer.json": fromJSON, "spiece.model": fromSpiece}
}

func TestGolden(t *testing.T) {
	for name, tok := range sources(t) {
		for _, c := range zootest.LoadGolden(t).Tokenizer {
			checkCase(t, name, tok, c)
		}
	}
}

func TestHardGolden(t *testing.T) {
	data, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	if len(g.Base) < len(hardTexts) || len(g.Flags) < len(flagTexts) {
		t.Fatalf("%s has %d and %d cases; renew it", goldenFile, len(g.Base), len(g.Flags))
	}
	all := sources(t)
	if all["converted"], err = FromJSON(editJSON(t, convertedPipeline)); err != nil {
		t.Fatal(err)
	}
	for name, tok := range all {
		for _, c := range g.Base {
			checkCase(t, name, tok, c)
		}
	}
	flagged, err := FromJSON(flaggedJSON(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range g.Flags {
		checkCase(t, "flags", flagged, c)
	}
}

func checkCase(t testing.TB, name string, tok *Tokenizer, c zootest.Token) {
	t.Helper()
	if got := tok.Encode(c.Text); !slices.Equal(got, c.IDs) {
		t.Errorf("%s: Encode(%+q)\n got %v\nwant %v", name, c.Text, got, c.IDs)
	}
	if got := tok.Decode(c.IDs); got != c.Decoded {
		t.Errorf("%s: Decode(%v)\n got %q\nwant %q", name, c.IDs, got, c.Decoded)
	}
	var stream strings.Builder
	d := tok.NewDecoder()
	for _, id := range c.IDs {
		stream.WriteString(d.Next(id))
	}
	stream.WriteString(d.Flush())
	if stream.String() != c.Decoded {
		t.Errorf("%s: streamed %v\n got %q\nwant %q", name, c.IDs, stream.String(), c.Decoded)
	}
}
