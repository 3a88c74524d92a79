package hub

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/hub/hubtest"
)

// refused pulls o/m and wants a refusal of this code with this in it, soon, and nothing half-written left.
func refused(t *testing.T, c *Client, code fault.Code, part string) {
	t.Helper()
	start := time.Now()
	_, err := pull(t, c, "o/m", Want{})
	if fault.CodeOf(err) != code || !strings.Contains(fmt.Sprint(err), part) {
		t.Errorf("got %v (%s); want %q (%s)", err, fault.CodeOf(err), part, code)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	if strings.Contains(fmt.Sprint(err), "127.0.0.") || strings.Contains(fmt.Sprint(err), "://") {
		t.Errorf("the sentence has an address in it: %v", err)
	}
	for _, pattern := range []string{"blobs/*", "snapshots/*/adapter_model.safetensors", "refs/*"} {
		found, _ := filepath.Glob(filepath.Join(c.config.Cache, "models--o--m", pattern)) // the patterns are right
		for _, f := range found {
			data, err := os.ReadFile(f)
			if err == nil && strings.HasSuffix(pattern, "blobs/*") && !strings.HasSuffix(f, ".incomplete") && int64(len(data)) > 1000 || !strings.HasPrefix(pattern, "blobs") {
				t.Errorf("%s was left", filepath.Base(f))
			}
		}
	}
}

// hostile is a Hub with one adapter, whose weights the storage answers for as a test says.
func hostile(t *testing.T, storage http.HandlerFunc) (*hubtest.Server, map[string]string) {
	s := hubtest.New(t)
	files := adapter(7)
	s.Commit("o/m", files)
	s.Before = func(w http.ResponseWriter, r *http.Request, isStorage bool) bool {
		if isStorage && storage != nil {
			storage(w, r)
		}
		return isStorage && storage != nil
	}
	return s, files
}

func TestBadInput_38_Endpoints(t *testing.T) {
	for _, endpoint := range []string{"file:///etc", "gopher://h", "ftp://h", "//h", "h", "http://", "https://user:pass@h", "http://h?x=1", "http://[::1"} {
		if _, err := New(Config{Endpoint: endpoint, Cache: "c"}); fault.CodeOf(err) != fault.Invalid {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
	for text, private := range map[string]bool{
		"169.254.169.254": true, "::1": true, "127.0.0.1": true, "10.1.2.3": true, "::ffff:10.0.0.1": true, "::ffff:169.254.169.254": true, "fe80::1": true, "fd00::1": true,
		"0.0.0.0": true, "100.64.1.1": true, "64:ff9b::a00:1": true, "2002:a00:1::": true, "224.0.0.1": true, "255.255.255.255": true, "192.168.1.1": true, "fe80::1%eth0": true,
		"8.8.8.8": false, "2606:4700::1": false, "52.1.2.3": false,
	} {
		if got := isPrivate(netip.MustParseAddr(text)); got != private {
			t.Errorf("%s: private is %v", text, got)
		}
	}
}

// The Hub of the test is taken for a public one, and its storage, which is at another address, for a private one.
func TestBadInput_39_RedirectToPrivate(t *testing.T) {
	s, _ := hostile(t, nil)
	c := newClient(t, s, nil)
	c.inside = false
	refused(t, c, fault.Invalid, "redirects to a private address")
	// By a name, which is private only once it is resolved.
	u, err := url.Parse(s.Storage)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = "localhost:" + u.Port()
	r, err := c.sendOnce(t.Context(), request{method: http.MethodGet}, u)
	if err == nil {
		r.Body.Close()
	}
	if !errors.Is(err, errPrivate) {
		t.Errorf("a name of a private address: %v", err)
	}
	if got := s.Requests(func(r hubtest.Request) bool { return r.Storage }); len(got) != 0 {
		t.Errorf("the private server was asked: %v", got)
	}
	// Link-local addresses are never reached, also from a Hub within.
	c.inside = true
	if c.mayReach("x:80", netip.MustParseAddr("169.254.169.254")) || !c.mayReach("x:80", netip.MustParseAddr("10.0.0.1")) {
		t.Error("a private Hub's storage may be private, but not link-local")
	}
}

func TestBadInput_40_TokenStays(t *testing.T) {
	s, files := hostile(t, nil)
	s.Repo("o/m").Private = true
	c := newClient(t, s, func(c *Config) { c.Token = s.Token })
	holds(t, mustPull(t, c, "o/m", Want{}), files, "adapter_config.json", "adapter_model.safetensors")
	with, without := 0, 0
	for _, r := range s.Requests(func(hubtest.Request) bool { return true }) {
		switch {
		case r.Storage && r.Authorization != "":
			t.Errorf("the token went to the storage: %s %s", r.Method, r.Path)
		case r.Storage:
			without++
		case r.Authorization == "Bearer "+s.Token:
			with++
		}
	}
	if with < 3 || without != 1 {
		t.Errorf("%d requests with the token, %d of the storage without", with, without)
	}
	if _, err := New(Config{Cache: "c", Token: "a\nX: y"}); fault.CodeOf(err) != fault.Invalid {
		t.Errorf("a token with a line break: %v", err)
	}
}

func TestBadInput_40_Redirects(t *testing.T) {
	for name, c := range map[string]struct{ location, part string }{
		"loop":     {"", "redirects more than 5 times"},
		"file":     {"file:///etc/passwd", "no http or https URL"},
		"nowhere":  {"http://%zz", "redirects to nowhere"},
		"userinfo": {"http://a:b@127.0.0.1/", "no http or https URL"},
	} {
		t.Run(name, func(t *testing.T) {
			s := hubtest.New(t)
			s.Before = func(w http.ResponseWriter, r *http.Request, _ bool) bool {
				w.Header()["Location"] = []string{c.location}
				if c.location == "" {
					w.Header().Set("Location", r.URL.Path)
				}
				w.WriteHeader(http.StatusFound)
				return true
			}
			refused(t, newClient(t, s, nil), fault.Invalid, c.part)
		})
	}
}

func TestBadInput_41_EndlessSlowBody(t *testing.T) {
	s, _ := hostile(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, _ = w.Write([]byte("x")) // until the client hangs up
			w.(http.Flusher).Flush()
			time.Sleep(20 * time.Millisecond)
		}
	})
	c := newClient(t, s, nil)
	c.limits.window = 150 * time.Millisecond
	refused(t, c, fault.Internal, "sends less than 1024 bytes in 150ms")
	// Also where JSON is expected.
	s.Before = func(w http.ResponseWriter, r *http.Request, _ bool) bool {
		for r.Context().Err() == nil {
			_, _ = w.Write([]byte(" ")) // as above
			w.(http.Flusher).Flush()
			time.Sleep(20 * time.Millisecond)
		}
		return true
	}
	c = newClient(t, s, nil)
	c.limits.window = 150 * time.Millisecond
	refused(t, c, fault.Internal, "did not end in time")
}

func TestBadInput_41_EndlessFastBody(t *testing.T) {
	s, _ := hostile(t, func(w http.ResponseWriter, r *http.Request) {
		junk := make([]byte, 64<<10)
		for r.Context().Err() == nil {
			if _, err := w.Write(junk); err != nil {
				return
			}
		}
	})
	refused(t, newClient(t, s, nil), fault.Invalid, "sends more than the 20000 bytes")
	c := newClient(t, s, nil)
	c.limits.json = 1 << 20
	s.Before = func(w http.ResponseWriter, r *http.Request, _ bool) bool {
		for r.Context().Err() == nil {
			if _, err := w.Write([]byte(strings.Repeat(" ", 1<<16))); err != nil {
				break
			}
		}
		return true
	}
	refused(t, c, fault.TooLarge, "more than 1048576 bytes")
}

func TestBadInput_41_WrongLength(t *testing.T) {
	s, _ := hostile(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "9223372036854775807")
		_, _ = w.Write([]byte("x")) // as above
	})
	refused(t, newClient(t, s, nil), fault.Invalid, "announces 9223372036854775807 bytes where the Hub listed 20000")
	s, _ = hostile(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "20000")
		_, _ = w.Write([]byte("short"))
	})
	refused(t, newClient(t, s, nil), fault.Internal, "connection ended early")
}

func TestBadInput_41_WrongHash(t *testing.T) {
	asked := atomic.Int32{}
	s, _ := hostile(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = w.Write(make([]byte, 20_000))
	})
	c := newClient(t, s, nil)
	refused(t, c, fault.Invalid, "does not have the hash that the Hub announced (SHA-256)")
	if left, _ := filepath.Glob(filepath.Join(c.config.Cache, "models--o--m", "blobs", "*.incomplete")); len(left) != 0 || asked.Load() != 1 {
		t.Errorf("%d partial files are left, after %d requests", len(left), asked.Load())
	}
	// A small file has the hash of its git blob.
	s.Before = func(w http.ResponseWriter, r *http.Request, storage bool) bool {
		if strings.HasSuffix(r.URL.Path, "adapter_config.json") {
			_, _ = w.Write([]byte(`{"r": 9}`))
			return true
		}
		return false
	}
	if _, err := pull(t, newClient(t, s, nil), "o/m", Want{}); fault.CodeOf(err) != fault.Invalid || !strings.Contains(err.Error(), "does not have the hash that the Hub announced (SHA-1 of git)") {
		t.Errorf("a small file of another hash: %v", err)
	}
}

func TestBadInput_41_ETagChangesInMidResume(t *testing.T) {
	files := adapter(7)
	data := files["adapter_model.safetensors"]
	changed := false
	s, _ := hostile(t, cutOff(data, 6000, func(w http.ResponseWriter, r *http.Request, from int) {
		if from > 0 && !changed {
			changed = true
		}
		if changed {
			w.Header().Set("ETag", `"second"`)
		}
	}))
	holds(t, mustPull(t, newClient(t, s, nil), "o/m", Want{}), files, "adapter_config.json", "adapter_model.safetensors")

	// For ever: each answer is of something else.
	number := 0
	s, _ = hostile(t, cutOff(data, 6000, func(w http.ResponseWriter, _ *http.Request, _ int) {
		number++
		w.Header().Set("ETag", fmt.Sprintf(`"%d"`, number))
	}))
	refused(t, newClient(t, s, nil), fault.Invalid, "does not have the hash that the Hub announced")

	// The Hub itself says that the file is another than it listed.
	s, _ = hostile(t, nil)
	s.Before = func(w http.ResponseWriter, r *http.Request, storage bool) bool {
		if strings.HasSuffix(r.URL.Path, ".safetensors") {
			w.Header().Set("X-Linked-Etag", `"`+strings.Repeat("0", 64)+`"`)
			w.Header().Set("Location", s.Storage+"/objects/x")
			w.WriteHeader(http.StatusFound)
			return true
		}
		return false
	}
	s.Before = first(s.Before, func(w http.ResponseWriter, _ *http.Request, storage bool) bool {
		if storage {
			_, _ = w.Write([]byte(data))
		}
		return storage
	})
	refused(t, newClient(t, s, nil), fault.Invalid, "another hash than in the listing")
}

type before = func(w http.ResponseWriter, r *http.Request, storage bool) bool

// first is the answer of the first that answers.
func first(all ...before) before {
	return func(w http.ResponseWriter, r *http.Request, storage bool) bool {
		for _, f := range all {
			if f(w, r, storage) {
				return true
			}
		}
		return false
	}
}

func TestBadInput_42_RetryAfter(t *testing.T) {
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		for after, part := range map[string]string{
			"315360000": "asks to wait 3650 days", "9e99": "asks to wait 36500 days", time.Now().AddDate(3, 0, 0).UTC().Format(http.TimeFormat): "asks to wait 1095 days",
			"": fmt.Sprintf("(status %d)", status), "soon": fmt.Sprintf("(status %d)", status), "-5": fmt.Sprintf("(status %d)", status), "0.01": fmt.Sprintf("(status %d)", status),
		} {
			s := hubtest.New(t)
			asked := atomic.Int32{}
			s.Before = func(w http.ResponseWriter, _ *http.Request, _ bool) bool {
				asked.Add(1)
				w.Header().Set("Retry-After", after)
				w.WriteHeader(status)
				return true
			}
			refused(t, newClient(t, s, nil), fault.Internal, strings.Replace(part, "1095", fmt.Sprintf("%.0f", time.Until(time.Now().AddDate(3, 0, 0)).Hours()/24), 1))
			if want := map[bool]int32{true: 1, false: 5}[strings.Contains(part, "days")]; asked.Load() != want {
				t.Errorf("%d with Retry-After %q: asked %d times, want %d", status, after, asked.Load(), want)
			}
		}
	}
	// A short wait is waited for.
	s, files := hostile(t, nil)
	busy := atomic.Int32{}
	s.Before = func(w http.ResponseWriter, _ *http.Request, _ bool) bool {
		if busy.Add(1) > 2 {
			return false
		}
		w.Header().Set("Retry-After", "0.02")
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	}
	holds(t, mustPull(t, newClient(t, s, nil), "o/m", Want{}), files, "adapter_config.json", "adapter_model.safetensors")
}

// Listings name files that would be made here, so nothing in them is believed.
func TestBadInput_Listings(t *testing.T) {
	oid := strings.Repeat("a", 40)
	entry := func(path string, size any, oid string) []any {
		return []any{map[string]any{"type": "file", "path": path, "size": size, "oid": oid}}
	}
	for name, c := range map[string]struct {
		list any
		part string
	}{
		"up":              {entry("../../x.safetensors", 1, oid), "could leave its folder"},
		"absolute":        {entry("/etc/passwd", 1, oid), "could leave its folder"},
		"drive":           {entry("C:x", 1, oid), "could leave its folder"},
		"backslash":       {entry(`..\x`, 1, oid), "could leave its folder"},
		"device":          {entry("sub/NUL.json", 1, oid), "could leave its folder"},
		"control":         {entry("a\x00b", 1, oid), "could leave its folder"},
		"long":            {entry(strings.Repeat("x/", 600)+"x", 1, oid), "could leave its folder"},
		"negative":        {entry("config.json", -1, oid), "is said to have -1 bytes"},
		"huge":            {entry("config.json", int64(1)<<60, oid), "is said to have"},
		"2^63":            {entry("config.json", json.Number("9223372036854775808"), oid), "not what a Hub gives"},
		"no hash":         {entry("config.json", 1, ""), "without a hash"},
		"hash as path":    {entry("config.json", 1, "../../../x"), "without a hash"},
		"not a list":      {map[string]any{"error": 1}, "not what a Hub gives"},
		"a file too much": {"x", "not what a Hub gives"},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := hostile(t, nil)
			s.Before = func(w http.ResponseWriter, r *http.Request, _ bool) bool {
				if !strings.Contains(r.URL.Path, "/tree/") {
					return false
				}
				_ = json.NewEncoder(w).Encode(c.list)
				return true
			}
			refused(t, newClient(t, s, nil), fault.Invalid, c.part)
		})
	}
	for name, c := range map[string]struct {
		link, part string
		code       fault.Code
	}{
		"for ever":       {"", "more than 4 pages", fault.TooLarge},
		"another server": {"<http://127.0.0.2/api>; rel=\"next\"", "goes on on another server", fault.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := hostile(t, nil)
			s.Before = func(w http.ResponseWriter, r *http.Request, _ bool) bool {
				if !strings.Contains(r.URL.Path, "/tree/") {
					return false
				}
				if w.Header().Set("Link", c.link); c.link == "" {
					w.Header().Set("Link", "<"+s.URL+r.URL.String()+">; rel=\"next\"")
				}
				_, _ = w.Write([]byte("[]"))
				return true
			}
			client := newClient(t, s, nil)
			client.limits.pages = 4
			refused(t, client, c.code, c.part)
		})
	}
}

func TestBadInput_Commits(t *testing.T) {
	for _, sha := range []string{"", "../../x", strings.Repeat("G", 40), strings.Repeat("a", 41)} {
		s := hubtest.New(t)
		s.Before = func(w http.ResponseWriter, _ *http.Request, _ bool) bool {
			_ = json.NewEncoder(w).Encode(map[string]string{"sha": sha})
			return true
		}
		refused(t, newClient(t, s, nil), fault.Invalid, "names no commit")
	}
	s := hubtest.New(t)
	s.Before = func(w http.ResponseWriter, _ *http.Request, _ bool) bool {
		_, _ = w.Write([]byte("<html>Welcome to the hotel's network</html>"))
		return true
	}
	refused(t, newClient(t, s, nil), fault.Invalid, "is the endpoint (HF_ENDPOINT) one?")
}

func TestBadInput_58_Disk(t *testing.T) {
	for err, part := range map[error]string{
		&fs.PathError{Op: "write", Path: "/secret", Err: syscall.ENOSPC}:              "the disk with the cache is full",
		&fs.PathError{Op: "open", Path: "/secret", Err: syscall.EACCES}:               "permission denied",
		&fs.PathError{Op: "open", Path: "/secret", Err: syscall.EROFS}:                "permission denied",
		&os.LinkError{Op: "rename", Old: "/secret", New: "/secret", Err: syscall.EIO}: "cannot be used: input/output error",
	} {
		if got := diskFault("o/m", err); !strings.Contains(got.Error(), part) || strings.Contains(got.Error(), "secret") || !errors.Is(got, err) {
			t.Errorf("%v: %v", err, got)
		}
	}
	s, _ := hostile(t, nil)
	c := newClient(t, s, nil)
	if err := os.WriteFile(c.config.Cache, nil, 0o644); err != nil { // a file where the folder should be
		t.Fatal(err)
	}
	_, err := pull(t, c, "o/m", Want{})
	if err == nil || !strings.Contains(err.Error(), "cache cannot be used") || strings.Contains(err.Error(), c.config.Cache) {
		t.Errorf("got %v", err)
	}
}

func TestBadInput_Index(t *testing.T) {
	for name, c := range map[string]struct{ index, part string }{
		"no JSON":   {"x", "not the JSON of an index"},
		"empty":     {"{}", "names no file"},
		"up":        {`{"weight_map": {"a": "../x.safetensors"}}`, "not the plain name"},
		"a pickle":  {`{"weight_map": {"a": "x.bin"}}`, "not the plain name"},
		"not there": {`{"weight_map": {"a": "x.safetensors"}}`, "does not have"},
	} {
		t.Run(name, func(t *testing.T) {
			s := hubtest.New(t)
			s.Commit("o/m", map[string]string{"config.json": "{}", "model.safetensors.index.json": c.index})
			refused(t, newClient(t, s, nil), fault.Invalid, c.part)
		})
	}
}
