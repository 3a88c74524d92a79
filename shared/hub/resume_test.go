package hub

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/medley-lora/medley/shared/hub/hubtest"
)

// cutOff answers in pieces: each answer ends early, with what comes next in the next one.
func cutOff(data string, piece int, change func(w http.ResponseWriter, r *http.Request, from int)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		from := 0
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
		}
		w.Header().Set("ETag", `"first"`)
		if change != nil {
			change(w, r, from)
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(data)-from))
		if from > 0 {
			w.WriteHeader(http.StatusPartialContent)
		}
		end := min(len(data), from+piece)
		_, _ = w.Write([]byte(data[from:end]))
		if end < len(data) {
			panic(http.ErrAbortHandler)
		}
	}
}

func TestResume(t *testing.T) {
	files := adapter(7)
	data := files["adapter_model.safetensors"]
	ranges := []string{}
	s, _ := hostile(t, cutOff(data, 6000, func(_ http.ResponseWriter, r *http.Request, _ int) { ranges = append(ranges, r.Header.Get("Range")) }))
	c := newClient(t, s, nil)
	holds(t, mustPull(t, c, "o/m", Want{}), files, "adapter_config.json", "adapter_model.safetensors")
	if got := strings.Join(ranges, " "); got != " bytes=6000- bytes=12000- bytes=18000-" {
		t.Errorf("asked for %q", got)
	}
}

// What a killed process has left is gone on with by the next, if it is the beginning of what is wanted.
func TestResumeAfterAKill(t *testing.T) {
	files := adapter(7)
	data := files["adapter_model.safetensors"]
	for name, left := range map[string]string{"a beginning": data[:15_000], "something else": randomText(9, 15_000), "too much": data + "x", "all": data} {
		t.Run(name, func(t *testing.T) {
			s, _ := hostile(t, nil)
			c := newClient(t, s, nil)
			st := c.storage("o/m")
			listed, err := c.list(t.Context(), Name{Repo: "o/m"}, s.Repo("o/m").Refs["main"])
			if err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(filepath.Join(st.root, "blobs"), 0o755); err != nil {
				t.Fatal(err)
			}
			for _, f := range listed {
				if f.isLFS() {
					if err := os.WriteFile(st.partial(f.ETag), []byte(left), 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
			holds(t, mustPull(t, c, "o/m", Want{}), files, "adapter_config.json", "adapter_model.safetensors")
			asked := s.Requests(func(r hubtest.Request) bool { return r.Storage })
			want := map[string]string{"a beginning": "bytes=15000-", "something else": "bytes=15000- ", "too much": "", "all": "none"}[name]
			got := "none"
			for i, r := range asked {
				if i == 0 {
					got = r.Range
				} else {
					got += " " + r.Range
				}
			}
			if got != want {
				t.Errorf("asked for %q, want %q", got, want)
			}
		})
	}
}
