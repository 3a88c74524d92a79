package task

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/zoo"
)

func TestReadExamples(t *testing.T) {
	cases := map[string]struct {
		text string
		want []Example
	}{
		"two":                  {"{\"input\":\"a\",\"output\":\"b\"}\n{\"output\":\"d\",\"input\":\"c\"}\n", []Example{{"a", "b"}, {"c", "d"}}},
		"no newline at end":    {`{"input":"a","output":"b"}`, []Example{{"a", "b"}}},
		"mark, CRLF and blank": {"\ufeff{\"input\":\"a\",\"output\":\"b\"}\r\n \t\r\n\n{\"input\":\"c\",\"output\":\"d\"}\r\n", []Example{{"a", "b"}, {"c", "d"}}},
		"other fields":         {`{"id":7,"meta":{"x":[1,{}]},"input":"a","output":"b","Input":"no"}`, []Example{{"a", "b"}}},
		"escapes":              {`{"\u0069nput":"\ud83d\ude00 \\ud800 \n","output":"\"\\"}`, []Example{{"😀 \\ud800 \n", `"\`}}},
		"empty input":          {`{"input":"","output":"b"}`, []Example{{"", "b"}}},
		"spaces stay":          {`{"input":" a ","output":" b "}`, []Example{{" a ", " b "}}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := ReadExamples(strings.NewReader(c.text), Limits{})
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Fatalf("got %q, %v; want %q", got, err, c.want)
			}
		})
	}
}

func TestReadExamplesRefuses(t *testing.T) {
	const good = `{"input":"a","output":"b"}` + "\n"
	small := Limits{Lines: 3, LineBytes: 60, Bytes: 150}
	cases := map[string]struct {
		text, want string
		code       fault.Code
	}{
		"nothing":            {"", "holds no example", fault.Invalid},
		"only blank lines":   {"\n \n", "holds no example", fault.Invalid},
		"not JSON":           {good + "hello", "line 2: is not a JSON object", fault.Invalid},
		"an array":           {`[{"input":"a","output":"b"}]`, "line 1: is not a JSON object", fault.Invalid},
		"broken":             {good + "\n" + `{"input":"a",}`, "line 3: is not JSON at byte", fault.Invalid},
		"torn":               {`{"input":"a","outp`, "line 1: is not JSON at byte", fault.Invalid},
		"two on a line":      {strings.TrimSpace(good) + good, "line 1: is not JSON at byte", fault.Invalid},
		"no input":           {`{"prompt":"a","output":"b"}`, `line 1: input: is missing; the fields here are "prompt", "output"`, fault.Invalid},
		"no output":          {good + `{"input":"a"}`, `line 2: output: is missing`, fault.Invalid},
		"no field":           {`{}`, `line 1: input: is missing; the object is empty`, fault.Invalid},
		"another case":       {`{"Input":"a","output":"b"}`, `line 1: input: is missing`, fault.Invalid},
		"a number":           {`{"input":"a","output":3}`, "line 1: output: is not a string", fault.Invalid},
		"null":               {`{"input":null,"output":"b"}`, "line 1: input: is not a string", fault.Invalid},
		"twice":              {`{"input":"a","input":"c","output":"b"}`, "line 1: input: occurs twice", fault.Invalid},
		"twice by escape":    {`{"input":"a","\u0069nput":"c","output":"b"}`, "line 1: input: occurs twice", fault.Invalid},
		"empty target":       {`{"input":"a","output":""}`, "line 1: output: is blank", fault.Invalid},
		"blank target":       {`{"input":"a","output":" \n\t"}`, "line 1: output: is blank", fault.Invalid},
		"not UTF-8":          {"{\"input\":\"\xff\",\"output\":\"b\"}", "line 1: is not UTF-8", fault.Invalid},
		"UTF-16":             {"\xff\xfe{\x00}\x00", "line 1: is UTF-16", fault.Invalid},
		"high half":          {`{"input":"\uD83D","output":"b"}`, "line 1: input: holds half of a surrogate pair", fault.Invalid},
		"low half":           {`{"input":"a","output":"\\\udc00"}`, "line 1: output: holds half of a surrogate pair", fault.Invalid},
		"two high halves":    {`{"input":"\ud83d\ud83d","output":"b"}`, "line 1: input: holds half of a surrogate pair", fault.Invalid},
		"high half and text": {`{"input":"\ud83dude00","output":"b"}`, "line 1: input: holds half of a surrogate pair", fault.Invalid},
		"long line":          {good + `{"input":"` + strings.Repeat("a", 60) + `","output":"b"}`, "line 2: longer than 60 bytes", fault.TooLarge},
		"many lines":         {strings.Repeat(good, 4), "line 4: more than 3 lines", fault.TooLarge},
		"many blank lines":   {"\n\n\n\n", "line 4: more than 3 lines", fault.TooLarge},
		"many bytes":         {strings.Repeat(strings.TrimSpace(good)+strings.Repeat(" ", 30)+"\n", 3), "more than 150 bytes", fault.TooLarge},
		"a long field name":  {`{"` + strings.Repeat("é", 20) + `":1}`, "line 1: input: is missing", fault.Invalid},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := ReadExamples(strings.NewReader(c.text), small)
			if err == nil || !strings.Contains(err.Error(), c.want) || fault.CodeOf(err) != c.code {
				t.Fatalf("error %v (%s), want %q (%s)", err, fault.CodeOf(err), c.want, c.code)
			}
		})
	}
}

func TestReadExamplesAtTheLimits(t *testing.T) {
	line := `{"input":"a","output":"b"}`
	text := strings.Repeat(line+"\r\n", 3)
	limits := Limits{Lines: 3, LineBytes: len(line), Bytes: int64(len(text))}
	if got, err := ReadExamples(strings.NewReader(text), limits); err != nil || len(got) != 3 {
		t.Fatalf("%d examples, %v; want all 3 at exactly the limits", len(got), err)
	}
}

// endless is a file that never ends; it counts what was read of it.
type endless struct {
	line string
	read int
}

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = e.line[(e.read+i)%len(e.line)]
	}
	e.read += len(p)
	return len(p), nil
}

func TestReadExamplesStopsEarly(t *testing.T) {
	for name, line := range map[string]string{"examples": `{"input":"a","output":"b"}` + "\n", "one line": "x", "blank lines": "\n"} {
		t.Run(name, func(t *testing.T) {
			source := &endless{line: line}
			_, err := ReadExamples(source, Limits{})
			if fault.CodeOf(err) != fault.TooLarge {
				t.Fatalf("error %v, want too large", err)
			}
			if source.read > 4<<20 {
				t.Errorf("read %d bytes of an endless file", source.read)
			}
		})
	}
}

func TestReadExamplesReaderFails(t *testing.T) {
	r := io.MultiReader(strings.NewReader(`{"input":"a","output":"b"}`+"\n"), failing{})
	if _, err := ReadExamples(r, Limits{}); err == nil || err.Error() != "line 2: cannot be read" {
		t.Fatalf("error %v, want that line 2 cannot be read", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestReadExamplesOfTheZoo(t *testing.T) {
	for _, name := range zoo.Tasks() {
		data, err := fs.ReadFile(zoo.Files(), "tasks/"+name+".few.jsonl")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ReadExamples(bytes.NewReader(data), Limits{}); err != nil || len(got) != 5 {
			t.Errorf("%s: %d examples, %v; want 5", name, len(got), err)
		}
	}
}

func FuzzReadExamples(f *testing.F) {
	f.Add([]byte(`{"input":"a","output":"b"}`))
	f.Add([]byte("\ufeff{\"input\":\"\\ud83d\\ude00\",\"output\":\"b\"}\r\n\n"))
	f.Add([]byte(`{"input":"\ud800","output":"b","x":{"y":[null]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		examples, err := ReadExamples(bytes.NewReader(data), Limits{Lines: 50, LineBytes: 1000, Bytes: 5000})
		if err != nil {
			return
		}
		var again bytes.Buffer
		for _, e := range examples {
			if !utf8.ValidString(e.Input) || !utf8.ValidString(e.Output) || strings.TrimSpace(e.Output) == "" {
				t.Fatalf("accepted %q", e)
			}
			if err := json.NewEncoder(&again).Encode(e); err != nil {
				t.Fatal(err)
			}
		}
		if back, err := ReadExamples(&again, Limits{}); err != nil || !reflect.DeepEqual(back, examples) {
			t.Fatalf("%q came back as %q, %v", examples, back, err)
		}
	})
}

func TestSplit(t *testing.T) {
	examples := []Example{{"1", "a"}, {"2", "b"}, {"3", "c"}}
	for k := range 3 {
		search, held, err := Split(examples, k)
		if err != nil || len(search) != 3-k || len(held) != k || !reflect.DeepEqual(append(search, held...), examples) {
			t.Errorf("Split(%d) = %v, %v, %v", k, search, held, err)
		}
	}
	for _, k := range []int{-1, 3, 4} {
		if _, _, err := Split(examples, k); fault.CodeOf(err) != fault.Invalid || !strings.HasPrefix(fmt.Sprint(err), "holdout: ") {
			t.Errorf("Split(%d): error %v", k, err)
		}
	}
}
