package gateway_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// composition is a request whose field is changed to a value in JSON.
func composition(field, value string) string {
	fields := map[string]string{
		"base": `"google/flan-t5-base"`, "modules": `["mod_aaaaaaaaaaaaaaaaaaaaaaaaaa"]`, "examples": `[{"input":"one berry","output":"berries"}]`,
	}
	fields[field] = value
	var parts []string
	for name, value := range fields {
		if value != "" {
			parts = append(parts, fmt.Sprintf("%q:%s", name, value))
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func TestBadInput_53_54_Bodies(t *testing.T) {
	s := newServer(t, nil)
	text := func(n int) string { return strings.Repeat("x", n) }
	for name, c := range map[string]struct {
		body   string
		status int
		field  string
	}{
		"as it should be":    {compositionText, 202, ""},
		"empty":              {" ", 400, "body"},
		"not JSON":           {"{base", 400, "body"},
		"another type":       {"[]", 400, "body"},
		"null":               {"null", 400, "body"},
		"two values":         {compositionText + "{}", 400, "body"},
		"trailing garbage":   {compositionText + "x", 400, "body"},
		"deep":               {composition("base", strings.Repeat("[", 200_000)), 400, ""},
		"deep but whole":     {composition("base", strings.Repeat("[", 9000)+strings.Repeat("]", 9000)), 400, "base"},
		"a field twice":      {strings.Replace(compositionText, "{", `{"base":"a",`, 1), 400, "base"},
		"a deep field twice": {composition("examples", `[{"input":"a","input":"b","output":"c"}]`), 400, "examples/0/input"},
		"escaped twice":      {strings.Replace(compositionText, "{", `{"b\u0061se":"a",`, 1), 400, "base"},
		"unknown field":      {composition("sample", "3"), 400, "sample"},
		"unknown deep field": {composition("examples", `[{"input":"a","output":"b","weight":1}]`), 400, "examples/0/weight"},
		"another case":       {composition("Base", `"b"`), 400, "Base"},
		"missing field":      {composition("base", ""), 400, "base"},
		"half a surrogate":   {composition("examples", `[{"input":"\ud800","output":"b"}]`), 400, "examples/0/input"},
		"halves swapped":     {composition("examples", `[{"input":"\udc00\ud800","output":"b"}]`), 400, "examples/0/input"},
		"not UTF-8":          {composition("examples", "[{\"input\":\"\xff\",\"output\":\"b\"}]"), 400, "examples/0/input"},
		"byte order mark":    {"\ufeff" + compositionText, 400, "body"},
		"zero examples":      {composition("examples", "[]"), 400, "examples"},
		"too many examples":  {composition("examples", "["+strings.Repeat(`{"input":"a","output":"b"},`, 1000)+`{"input":"a","output":"b"}]`), 400, "examples"},
		"empty target":       {composition("examples", `[{"input":"a","output":""}]`), 400, "examples/0/output"},
		"blank target":       {composition("examples", `[{"input":"a","output":" \n"}]`), 400, "examples/0/output"},
		"long prompt":        {composition("examples", `[{"input":"`+text(32769)+`","output":"b"}]`), 400, "examples/0/input"},
		"prompt of 10 MB":    {composition("examples", `[{"input":"`+text(10<<20)+`","output":"b"}]`), 413, ""},
		"no module":          {composition("modules", "[]"), 400, "modules"},
		"a module twice":     {composition("modules", `["mod_aaaaaaaaaaaaaaaaaaaaaaaaaa","mod_aaaaaaaaaaaaaaaaaaaaaaaaaa"]`), 400, "modules"},
		"a path as module":   {composition("modules", `["../../../../../../../../../etc"]`), 400, "modules/0"},
		"base with NUL":      {composition("base", `"a\u0000"`), 400, "base"},
		"another method":     {composition("method", `"linear"`), 400, "method"},
		"another optimizer":  {composition("optimizer", `"./mine.wasm"`), 400, "optimizer"},
		"a plugin":           {composition("optimizer", `"plg_aaaaaaaaaaaaaaaaaaaaaaaaaa"`), 202, ""},
		"budget 0":           {composition("budget", "0"), 400, "budget"},
		"budget 2^63":        {composition("budget", "9223372036854775808"), 400, "budget"},
		"budget 1.5":         {composition("budget", "1.5"), 400, "budget"},
		"budget 1e1":         {composition("budget", "1e1"), 202, ""},
		"budget as text":     {composition("budget", `"40"`), 400, "budget"},
		"budget null":        {composition("budget", "null"), 400, "budget"},
		"bound 0":            {composition("bound", "0"), 400, "bound"},
		"bound 1e999":        {composition("bound", "1e999"), 400, ""},
		"penalty NaN":        {composition("penalty", "NaN"), 400, ""},
		"seed -1":            {composition("seed", "-1"), 400, "seed"},
		"all held out":       {composition("holdout", "1"), 400, "holdout"},
		"long option name":   {composition("optimizer_options", `{"`+text(1000)+`":"x"}`), 400, "optimizer_options"},
		"nothing as option":  {composition("optimizer_options", `{"population":null}`), 400, "optimizer_options/population"},
	} {
		t.Run(name, func(t *testing.T) {
			s.t = t
			a := s.want(c.status, "POST", "/v1/compositions", c.body)
			if got := a.field("field"); c.field != "" && got != c.field {
				t.Errorf("field %q, want %q: %s", got, c.field, a.body)
			}
			if len(a.body) > 2000 {
				t.Errorf("the answer repeats %d bytes", len(a.body))
			}
		})
	}
}

func TestBadInput_53_Headers(t *testing.T) {
	s := newServer(t, nil)
	for name, c := range map[string]struct {
		method, path, body string
		headers            []string
		status             int
	}{
		"gzip":                   {"POST", "/v1/compositions", "\x1f\x8b", []string{"Content-Encoding", "gzip"}, 415},
		"identity":               {"POST", "/v1/compositions", compositionText, []string{"Content-Encoding", "identity"}, 202},
		"no type":                {"POST", "/v1/compositions", compositionText, []string{"Content-Type", ""}, 415},
		"a form":                 {"POST", "/v1/compositions", "a=b", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415},
		"text":                   {"POST", "/v1/compositions", compositionText, []string{"Content-Type", "text/plain"}, 415},
		"a list of types":        {"POST", "/v1/compositions", compositionText, []string{"Content-Type", "application/json, text/plain"}, 415},
		"UTF-8":                  {"POST", "/v1/compositions", compositionText, []string{"Content-Type", "Application/JSON; charset=UTF-8"}, 202},
		"UTF-16":                 {"POST", "/v1/compositions", compositionText, []string{"Content-Type", "application/json; charset=utf-16"}, 415},
		"no body":                {"POST", "/v1/compositions", "", []string{"Content-Type", "application/json"}, 400},
		"a body to GET":          {"GET", "/v1/modules", "{}", nil, 400},
		"a body to DELETE":       {"DELETE", "/v1/modules/mod_aaaaaaaaaaaaaaaaaaaaaaaaaa", "{}", nil, 400},
		"a long key":             {"POST", "/v1/compositions", compositionText, []string{"Idempotency-Key", strings.Repeat("k", 129)}, 400},
		"a key with a space":     {"POST", "/v1/compositions", compositionText, []string{"Idempotency-Key", "a b"}, 400},
		"unknown parameter":      {"GET", "/v1/modules?sort=name", "", nil, 400},
		"a parameter twice":      {"GET", "/v1/modules?q=a&q=b", "", nil, 400},
		"semicolon in the query": {"GET", "/v1/modules?q=a;b", "", nil, 400},
		"bad escape":             {"GET", "/v1/modules?q=%zz", "", nil, 400},
		"query not UTF-8":        {"GET", "/v1/modules?q=%ff", "", nil, 400},
		"NUL in the query":       {"GET", "/v1/modules?q=%00", "", nil, 400},
		"empty query":            {"GET", "/v1/modules?q=", "", nil, 200},
		"limit 0":                {"GET", "/v1/modules?limit=0", "", nil, 400},
		"limit 201":              {"GET", "/v1/modules?limit=201", "", nil, 400},
		"limit as text":          {"GET", "/v1/modules?limit=ten", "", nil, 400},
		"limit 1.0":              {"GET", "/v1/modules?limit=1.5", "", nil, 400},
		"cursor of a stranger":   {"GET", "/v1/modules?cursor=AAAA", "", nil, 400},
		"unknown state":          {"GET", "/v1/compositions?state=Queued", "", nil, 400},
		"upload without a name":  {"POST", "/v1/modules", "PK", []string{"Content-Type", "application/zip"}, 400},
		"upload of a path":       {"POST", "/v1/modules?name=../x", "PK", []string{"Content-Type", "application/zip"}, 400},
		"upload for everyone":    {"POST", "/v1/modules?name=x&visibility=public", "PK", []string{"Content-Type", "application/zip"}, 400},
		"large body":             {"POST", "/v1/tokens", `{"scopes":["` + strings.Repeat("x", 70_000) + `"]}`, nil, 413},
		"large plugin":           {"POST", "/v1/plugins/validate", strings.Repeat("x", 16<<20+1), []string{"Content-Type", "application/wasm"}, 413},
	} {
		t.Run(name, func(t *testing.T) {
			s.t = t
			s.want(c.status, c.method, c.path, c.body, c.headers...)
		})
	}
}

// A body whose length is not known beforehand is bounded all the same.
func TestBadInput_53_EndlessBody(t *testing.T) {
	s := newServer(t, nil)
	for _, path := range []string{"/v1/tokens", "/v1/plugins/validate"} {
		contentType := "application/json"
		if strings.Contains(path, "plugins") {
			contentType = "application/wasm"
		}
		r, err := http.NewRequest("POST", s.url+path, endless{})
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer alice")
		r.Header.Set("Content-Type", contentType)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			continue // the server closed the connection before the client had read the answer
		}
		if res.Body.Close(); res.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: status %d", path, res.StatusCode)
		}
	}
}

// endless is a reader of spaces.
type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}
