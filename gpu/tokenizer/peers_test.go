//go:build peers

package tokenizer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/zoo/zootest"
)

var update = flag.Bool("update", false, "write testdata/golden.json from what Transformers says")

func peersPython(t *testing.T) string {
	t.Helper()
	python := os.Getenv("MEDLEY_PEERS_PYTHON")
	if python == "" {
		t.Fatal("set MEDLEY_PEERS_PYTHON to a Python with tools/peers/requirements.txt installed (python -m venv, pip install -r)")
	}
	return python
}

// jsonLines is one JSON string a line.
func jsonLines(t *testing.T, texts []string) *bytes.Buffer {
	t.Helper()
	var lines bytes.Buffer
	encoder := json.NewEncoder(&lines)
	for _, text := range texts {
		if err := encoder.Encode(text); err != nil {
			t.Fatal(err)
		}
	}
	return &lines
}

// ask returns what Transformers makes of texts, with the tokenizer of dir.
func ask(t *testing.T, dir string, texts []string) (map[string]string, []zootest.Token) {
	t.Helper()
	head, tokens := answers(t, dir, texts)
	return head.MadeWith, tokens
}

// heading is the first line of tools/peers/tokenizer.py.
type heading struct {
	MadeWith map[string]string `json:"made_with"`
	Path     string            // of a file that the tokenizer is in
}

func answers(t *testing.T, dir string, texts []string) (head heading, tokens []zootest.Token) {
	t.Helper()
	cmd := exec.Command(peersPython(t), filepath.Join("..", "..", "tools", "peers", "tokenizer.py"), dir)
	cmd.Stdin, cmd.Stderr = jsonLines(t, texts), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if head.MadeWith == nil {
			if err := json.Unmarshal(lines.Bytes(), &head); err != nil {
				t.Fatal(err)
			}
			continue
		}
		token := zootest.Token{Text: texts[len(tokens)]}
		if err := json.Unmarshal(lines.Bytes(), &token); err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, token)
	}
	if len(tokens) != len(texts) {
		t.Fatalf("%d answers to %d texts", len(tokens), len(texts))
	}
	return head, tokens
}

// folder makes a folder for Transformers to open; class "" is T5's own, which rebuilds the pipeline and takes only the data.
func folder(t *testing.T, tokenizerJSON []byte, class string) string {
	t.Helper()
	dir := t.TempDir()
	config := file(t, "tokenizer_config.json")
	if class != "" {
		config = []byte(`{"tokenizer_class": "` + class + `"}`)
	}
	for name, data := range map[string][]byte{"tokenizer.json": tokenizerJSON, "tokenizer_config.json": config, "config.json": file(t, "config.json")} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestPeers(t *testing.T) {
	texts := slices.Concat(hardTexts, randomTexts(6000))
	madeWith, want := ask(t, folder(t, file(t, "tokenizer.json"), ""), texts)
	for name, tok := range sources(t) {
		for _, c := range want {
			checkCase(t, name, tok, c)
		}
	}
	flagged := slices.Concat(flagTexts, randomFlagged(3000))
	_, wantFlagged := ask(t, folder(t, flaggedJSON(t), "PreTrainedTokenizerFast"), flagged)
	tok, err := FromJSON(flaggedJSON(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range wantFlagged {
		checkCase(t, "flags", tok, c)
	}
	if *update && !t.Failed() {
		g := golden{madeWith, want[:len(hardTexts)+100], wantFlagged[:len(flagTexts)+40]}
		data, err := json.MarshalIndent(g, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(goldenFile, append(data, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPeersBPE holds every pipeline of testdata/bpe to Transformers on 10,000 lines of mixed scripts, code and emoji.
func TestPeersBPE(t *testing.T) {
	texts := slices.Concat(causalTexts, hardTexts, mixedTexts(10000))
	if *update {
		trainBPE(t, slices.Concat(causalTexts, mixedTexts(2000)))
	}
	golden := map[string][]zootest.Token{}
	for _, name := range bpeNames {
		dir := filepath.Join("testdata", "bpe", name)
		_, want := ask(t, dir, texts)
		tok := openBPE(t, name)
		for _, c := range want {
			checkCase(t, name, tok, c)
		}
		golden[name] = want[:len(causalTexts)]
	}
	if *update && !t.Failed() {
		data, err := json.Marshal(golden)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join("testdata", "bpe", "golden.json"), append(data, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// trainBPE has tools/peers/bpe.py make the tokenizers of testdata/bpe anew.
func trainBPE(t *testing.T, texts []string) {
	t.Helper()
	cmd := exec.Command(peersPython(t), filepath.Join("..", "..", "tools", "peers", "bpe.py"), filepath.Join("testdata", "bpe"))
	cmd.Stdin, cmd.Stderr = jsonLines(t, texts), os.Stderr
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
}

// TestPeersConverted holds the pipeline that Transformers' converter writes to what Transformers then makes of it.
func TestPeersConverted(t *testing.T) {
	data := editJSON(t, convertedPipeline)
	_, want := ask(t, folder(t, data, ""), slices.Concat(hardTexts, randomTexts(2000)))
	tok, err := FromJSON(data)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range want {
		checkCase(t, "converted", tok, c)
	}
}

// TestPeersSmolLM2 is a vocabulary of the size that people use, out of a GGUF file.
func TestPeersSmolLM2(t *testing.T) {
	head, want := answers(t, "smollm2", slices.Concat(causalTexts, hardTexts, mixedTexts(10000)))
	file, err := checkpoint.OpenGGUF(os.DirFS(filepath.Dir(head.Path)), filepath.Base(head.Path))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	tok, err := FromGGUF(file.Values)
	if err != nil {
		t.Fatal(err)
	}
	if n := tok.VocabSize(); n != 49152 {
		t.Errorf("%d tokens", n)
	}
	for _, c := range want {
		checkCase(t, "SmolLM2", tok, c)
	}
}
