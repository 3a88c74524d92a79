package tokenizer

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/medley-lora/medley/shared/fault"
)

// maxFile bounds a tokenizer file in bytes; the largest T5 one (mT5's tokenizer.json) has 16 MB.
const maxFile = 64 << 20

// defaultExtraIDs is how many sentinels T5 has unless tokenizer_config.json says otherwise.
const defaultExtraIDs = 100

// Open reads the tokenizer of a Hugging Face folder: tokenizer.json or, without one, spiece.model and the "extra_ids" of
// tokenizer_config.json. NotFound means that neither is there; other errors name the file.
func Open(dir string) (*Tokenizer, error) { return OpenFS(os.DirFS(dir)) }

// OpenFS is Open for a file system whose root is the folder.
func OpenFS(fsys fs.FS) (*Tokenizer, error) {
	config, err := readConfig(fsys)
	if err != nil {
		return nil, err
	}
	data, err := read(fsys, "tokenizer.json")
	if err == nil {
		t, err := FromJSON(data)
		if err != nil {
			return nil, fault.In("tokenizer.json", err)
		}
		t.name(config)
		return t, nil
	}
	if fault.CodeOf(err) != fault.NotFound {
		return nil, err
	}
	data, err = read(fsys, "spiece.model")
	if fault.CodeOf(err) == fault.NotFound {
		return nil, fault.New(fault.NotFound, "", "there is neither tokenizer.json nor spiece.model")
	}
	if err != nil {
		return nil, err
	}
	t, err := FromSentencePiece(data, config.ExtraIDs)
	return t, fault.In("spiece.model", err)
}

// config is what is used of tokenizer_config.json.
type config struct {
	ExtraIDs int         `json:"extra_ids"`
	BOS      *namedToken `json:"bos_token"`
	EOS      *namedToken `json:"eos_token"`
	Pad      *namedToken `json:"pad_token"`
}

// namedToken is a token by its text, alone or in an object.
type namedToken string

func (n *namedToken) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '{' {
		var object struct {
			Content string `json:"content"`
		}
		err := json.Unmarshal(data, &object)
		*n = namedToken(object.Content)
		return err
	}
	return json.Unmarshal(data, (*string)(n))
}

// name finds the tokens that the file of a decoder-only model does not know the use of; T5's does.
func (t *Tokenizer) name(c config) {
	for _, role := range []struct {
		token *namedToken
		id    *int32
	}{{c.BOS, &t.bos}, {c.EOS, &t.eos}, {c.Pad, &t.pad}} {
		if role.token == nil || *role.token == "" || *role.id >= 0 {
			continue
		}
		*role.id = t.ID(string(*role.token))
	}
}

func readConfig(fsys fs.FS) (config, error) {
	c := config{ExtraIDs: defaultExtraIDs}
	data, err := read(fsys, "tokenizer_config.json")
	if fault.CodeOf(err) == fault.NotFound {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fault.Wrap(err, fault.Invalid, "tokenizer_config.json", "is not valid")
	}
	return c, nil
}

// read returns the contents of one file.
func read(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Wrap(err, fault.NotFound, name, "is missing")
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, name, "cannot be opened")
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, name, "cannot be read")
	}
	if len(data) > maxFile {
		return nil, fault.New(fault.TooLarge, name, "has more than %d bytes", maxFile)
	}
	return data, nil
}
