package service_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/gpu/reference"
	"github.com/medley-lora/medley/gpu/service"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/peft"
	"github.com/medley-lora/medley/shared/zoo/zootest"
)

// The test binary is an evaluator, or a program with one, when these are set.
const (
	roleVariable   = "MEDLEY_TEST_ROLE"
	socketVariable = "MEDLEY_TEST_SOCKET"
)

var roles = map[string]func(){
	"serve": func() { serve(newServer()) },
	"die": func() {
		fmt.Fprintln(os.Stderr, "first words\n\ndriver: the device is lost")
		os.Exit(3)
	},
	"hang": func() { time.Sleep(time.Hour) },
	"dies of scores": func() {
		server := newServer()
		serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/score") {
				fmt.Fprintln(os.Stderr, "driver: cannot score")
				os.Exit(4)
			}
			server.ServeHTTP(w, r)
		}))
	},
	"panics of scores": func() {
		server := newServer()
		serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/score") {
				panic("a defect")
			}
			server.ServeHTTP(w, r)
		}))
	},
	"hangs of scores": func() { serve(serverOn(troubled{reference.New(), func() error { select {} }})) },
	"slow": func() {
		serve(serverOn(troubled{reference.New(), func() error { time.Sleep(100 * time.Millisecond); return nil }}))
	},
	"lost device": func() {
		serve(serverOn(troubled{reference.New(), func() error { return errors.New("driver: the device is lost") }}))
	},
	"parent": func() { // until it is killed
		s := service.NewSupervisor(service.SupervisorOptions{
			Command: func(socket string) *exec.Cmd {
				fmt.Println(filepath.Dir(socket))
				return command("serve", socket)
			},
			Started: func(pid int) { fmt.Println(pid) },
		})
		_, err := s.Backend(context.Background())
		fmt.Println("ready", err)
		time.Sleep(time.Hour)
	},
}

func serve(h http.Handler) {
	if err := service.Serve(context.Background(), h, os.Getenv(socketVariable), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func newServer() *service.Server { return serverOn(reference.New()) }

func serverOn(b backend.Backend) *service.Server {
	return serverOf(func(context.Context) (backend.Backend, string, error) { return b, "it is the only one", nil }, service.HostOptions{})
}

// serverOf is an evaluator's server.
func serverOf(open func(context.Context) (backend.Backend, string, error), o service.HostOptions) *service.Server {
	h, err := service.NewHost(open, o)
	if err != nil {
		panic(err)
	}
	return service.NewServer(h, service.ServerOptions{})
}

// troubled is a backend with trouble in each norm and each reading of a pass.
type troubled struct {
	backend.Backend
	trouble func() error
}

func (b troubled) Begin(ctx context.Context) backend.Pass {
	return troubledPass{b.Backend.Begin(ctx), b.trouble}
}

type troubledPass struct {
	backend.Pass
	trouble func() error
}

func (p troubledPass) Norm(x backend.Tensor, gain backend.Resident, eps float32) backend.Tensor {
	_ = p.trouble() // an error is Read's to return
	return p.Pass.Norm(x, gain, eps)
}

func (p troubledPass) Read(t backend.Tensor) ([]float32, error) {
	if err := p.trouble(); err != nil {
		return nil, err
	}
	return p.Pass.Read(t)
}

func TestMain(m *testing.M) {
	if role, ok := roles[os.Getenv(roleVariable)]; ok {
		role()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// command is this program in a role.
func command(role, socket string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	c := exec.Command(self)
	c.Env = append(os.Environ(), roleVariable+"="+role, socketVariable+"="+socket)
	return c
}

// zoo is the zoo on disk.
type zoo struct{ dir string }

func newZoo(t testing.TB) zoo {
	t.Helper()
	return zoo{zootest.Dir(t)}
}

// request asks for modules/NAME, or for what a name with a slash says.
func (z zoo) request(method lora.Method, modules ...string) service.OpenRequest {
	q := service.OpenRequest{Base: service.Folder{Name: "--base", Path: filepath.Join(z.dir, "base")}, Method: string(method), Modules: []service.Folder{}}
	for _, name := range modules {
		folder := name
		if !strings.Contains(name, "/") {
			folder = "modules/" + name
		}
		q.Modules = append(q.Modules, service.Folder{Name: name, Path: filepath.Join(z.dir, filepath.FromSlash(folder))})
	}
	return q
}

// mixer is what a session for q must equal.
func (z zoo) mixer(t testing.TB, q service.OpenRequest) (*engine.Engine, *engine.Mixer) {
	t.Helper()
	b := reference.New()
	e, err := engine.Open(t.Context(), q.Base.Path, b, engine.Options{Memory: q.Limits.Memory, MaxSource: q.Limits.MaxSource, MaxTarget: q.Limits.MaxTarget})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close(); b.Close() })
	return e, z.mixerOn(t, e, q)
}

// mixerOn is a mixer for the modules of q.
func (z zoo) mixerOn(t testing.TB, e *engine.Engine, q service.OpenRequest) *engine.Mixer {
	t.Helper()
	var names []string
	folders := map[string]string{}
	for _, m := range q.Modules {
		names = append(names, m.Name)
		folders[m.Name] = m.Path
	}
	m, err := engine.NewMixer(e, lora.Method(q.Method), names, func(name string) (*lora.Adapter, error) {
		opened, err := peft.Open(folders[name], peft.OpenOptions{AllowPickle: true})
		if err != nil {
			return nil, err
		}
		a, err := opened.Load()
		if err == nil {
			a.Name = name
		}
		return a, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// clientOf speaks to a handler over TCP.
func clientOf(t testing.TB, h http.Handler) (c *service.Client, address string) {
	t.Helper()
	server := httptest.NewServer(h)
	c = service.NewClient(func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", server.Listener.Addr().String())
	})
	t.Cleanup(func() { c.Close(); server.Close() })
	return c, server.URL
}

// openSession opens a session that ends with the test.
func openSession(t testing.TB, o interface {
	Open(context.Context, service.OpenRequest) (*service.Session, error)
}, q service.OpenRequest) *service.Session {
	t.Helper()
	s, err := o.Open(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
