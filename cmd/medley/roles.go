package main

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/medley-lora/medley/edge/archive"
	"github.com/medley-lora/medley/edge/auth"
	"github.com/medley-lora/medley/edge/blob"
	"github.com/medley-lora/medley/edge/compute"
	"github.com/medley-lora/medley/edge/jobs"
	"github.com/medley-lora/medley/edge/platform"
	"github.com/medley-lora/medley/edge/redis"
	"github.com/medley-lora/medley/edge/store"
	"github.com/medley-lora/medley/shared/fault"
)

// stateFlags say where the platform keeps what it knows.
type stateFlags struct {
	Data     string `placeholder:"DIR" help:"Folder of this machine's own files, made at the first start (default: ${data})."`
	Database string `env:"MEDLEY_DATABASE" placeholder:"URL" help:"postgres://… or sqlite:FILE (default: sqlite in --data)."`
	Redis    string `env:"MEDLEY_REDIS" placeholder:"URL" help:"redis://… (default: one within this process)."`
	Blobs    string `env:"MEDLEY_BLOBS" placeholder:"URL" help:"s3://BUCKET?region=… or file:///DIR (default: in --data)."`
}

// defaultData is where data lies unless somebody says: as the system has it.
func defaultData() string {
	dir, err := os.UserConfigDir()
	if home, e := os.UserHomeDir(); e == nil {
		if share := filepath.Join(home, ".local", "share"); isFolder(share) || filepath.Base(dir) == ".config" {
			dir, err = share, nil
		}
	}
	if err != nil {
		return "medley-data"
	}
	return filepath.Join(dir, "medley")
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// folder makes --data, which nobody else may read, and returns its absolute path.
func (f stateFlags) folder() (string, error) {
	dir := f.Data
	if dir == "" {
		dir = defaultData()
	}
	dir, err := filepath.Abs(dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return "", fault.Wrap(err, fault.Invalid, "--data", "%s cannot be made: %v", f.Data, errorWithoutPath(err))
	}
	return dir, nil
}

// state is what is open of the platform's knowledge.
type state struct {
	dir   string
	store *store.Store
	blobs *blob.Store
	redis *redis.Client
	close []func() error // in reverse
}

// open opens everything. Those who share a cluster must say where its Redis and database are.
func (f stateFlags) open(ctx context.Context, shared bool) (s *state, err error) {
	if shared {
		for flag, value := range map[string]string{"--redis": f.Redis, "--database": f.Database, "--blobs": f.Blobs} {
			if value == "" {
				return nil, fault.New(fault.Invalid, flag, "is missing: the roles of a cluster share it (medley serve runs all of them alone)")
			}
		}
	}
	s = &state{}
	defer func() {
		if err != nil {
			s.end()
			s = nil
		}
	}()
	if s.dir, err = f.folder(); err != nil {
		return s, err
	}
	database, blobs, cache := f.Database, f.Blobs, f.Redis
	if database == "" {
		database = "sqlite:" + filepath.Join(s.dir, "medley.db")
	}
	if blobs == "" {
		blobs = (&url.URL{Scheme: "file", Path: filepath.ToSlash(filepath.Join(s.dir, "blobs"))}).String()
	}
	if cache == "" {
		cache = "embedded:"
	}
	if s.store, err = store.Open(ctx, database); err != nil {
		return s, inFlag("--database", err)
	}
	s.close = append(s.close, s.store.Close)
	if s.blobs, err = blob.Open(ctx, blobs); err != nil {
		return s, inFlag("--blobs", err)
	}
	s.close = append(s.close, s.blobs.Close)
	if s.redis, err = redis.Open(ctx, cache); err != nil {
		return s, inFlag("--redis", err)
	}
	s.close = append(s.close, s.redis.Close)
	return s, nil
}

// openBlobs opens the blobs alone.
func (f stateFlags) openBlobs(ctx context.Context) (*state, error) {
	if f.Blobs == "" {
		return nil, fault.New(fault.Invalid, "--blobs", "is missing: modules come from there")
	}
	dir, err := f.folder()
	if err != nil {
		return nil, err
	}
	s := &state{dir: dir}
	if s.blobs, err = blob.Open(ctx, f.Blobs); err != nil {
		return nil, inFlag("--blobs", err)
	}
	s.close = append(s.close, s.blobs.Close)
	return s, nil
}

// inFlag says which flag an error is about, with what a package keeps for logs: whoever starts a server may know it.
func inFlag(flag string, err error) error {
	if cause := errors.Unwrap(err); cause != nil {
		return fault.Wrap(err, fault.CodeOf(err), flag, "%v (%v)", err, cause)
	}
	return fault.In(flag, err)
}

// end closes everything, the last first.
func (s *state) end() {
	for i := len(s.close) - 1; i >= 0; i-- {
		if err := s.close[i](); err != nil {
			slog.Warn("closing", "error", err)
		}
	}
}

// libraryBytes bounds the modules that are unpacked on a machine.
const libraryBytes = 64 << 30

// library is the folders of modules for this machine's evaluator.
func (s *state) library() (*archive.Library, error) {
	return archive.NewLibrary(s.blobs, filepath.Join(s.dir, "modules"), libraryBytes)
}

// keysFlag says where the keys that sign tokens lie.
type keysFlag struct {
	Keys string `placeholder:"DIR" help:"Folder of the keys that sign tokens; the gateways of a cluster share it (default: keys in --data)."`
}

func (f keysFlag) keysFolder(data string) string {
	if f.Keys != "" {
		return f.Keys
	}
	return filepath.Join(data, "keys")
}

// gatewayFlags are those of who answers the API.
type gatewayFlags struct {
	Listen  string   `default:"127.0.0.1:8080" help:"Address to listen on. Beyond the loopback interface only if you name it, and then better with TLS."`
	TLSCert string   `name:"tls-cert" placeholder:"FILE" help:"Certificate in PEM, for https."`
	TLSKey  string   `name:"tls-key" placeholder:"FILE" help:"Its private key."`
	Origin  []string `placeholder:"URL" help:"Origin of pages elsewhere that may call the API; may be repeated."`
	keysFlag
	Issuer           string        `default:"medley" help:"Who tokens say that they are from and for; the same on all gateways of a cluster."`
	ExternalIssuers  string        `placeholder:"FILE" help:"Other issuers whose tokens are good, as JSON; see docs/tokens.md."`
	QuotaJobs        int64         `placeholder:"N" help:"Compositions that a principal may start in a day (default: no limit)."`
	QuotaEvaluations int64         `placeholder:"N" help:"Evaluations that a principal may use in a day (default: no limit)."`
	QuotaBytes       int64         `placeholder:"N" help:"Bytes that a principal may upload in a day (default: no limit)."`
	RequestRate      int           `default:"100" placeholder:"N" help:"Requests that a principal may make in a second, in the long run; twice as many at once."`
	Stop             time.Duration `default:"10s" help:"How long requests under way may take when the server stops."`
}

func (f gatewayFlags) check() error {
	switch {
	case (f.TLSCert == "") != (f.TLSKey == ""):
		return fault.New(fault.Invalid, "--tls-cert", "and --tls-key go together")
	case f.RequestRate < 1 || f.RequestRate > 1_000_000:
		return fault.New(fault.Invalid, "--request-rate", "%d is outside [1, 1000000]", f.RequestRate)
	case f.QuotaJobs < 0 || f.QuotaEvaluations < 0 || f.QuotaBytes < 0:
		return fault.New(fault.Invalid, "--quota-*", "must not be negative")
	}
	return nil
}

// platform is what the gateway stands in front of.
func (f gatewayFlags) platform(s *state, m compute.Models, log *slog.Logger) (*platform.Platform, error) {
	keys, err := auth.OpenKeySet(f.keysFolder(s.dir), nil)
	if err != nil {
		return nil, fault.In("--keys", err)
	}
	external, err := readExternalIssuers(f.ExternalIssuers)
	if err != nil {
		return nil, err
	}
	p, err := platform.New(platform.Options{
		Store: s.store, Blobs: s.blobs, Redis: s.redis, Keys: keys, Models: m, Optimizers: optimizers{},
		Issuer: f.Issuer, External: external, Uploads: filepath.Join(s.dir, "uploads"),
		Quotas: platform.Quotas{Jobs: f.QuotaJobs, Evaluations: f.QuotaEvaluations, Bytes: f.QuotaBytes},
		Rate:   redis.Rate{Count: f.RequestRate, Per: time.Second, Burst: 2 * f.RequestRate}, Log: log,
	})
	if err != nil {
		return nil, err
	}
	s.close = append(s.close, func() error { p.Close(); return nil })
	return p, nil
}

// workerFlags are those of who runs compositions.
type workerFlags struct {
	Concurrency int           `default:"1" placeholder:"N" help:"Compositions that are run at once."`
	Lease       time.Duration `default:"10s" help:"After so long without a sign of life a worker's compositions go to another."`
}

func (f workerFlags) check() error {
	if f.Concurrency < 1 || f.Concurrency > 1000 {
		return fault.New(fault.Invalid, "--concurrency", "%d is outside [1, 1000]", f.Concurrency)
	}
	if f.Lease < time.Second || f.Lease > store.MaxLease {
		return fault.New(fault.Invalid, "--lease", "%v is outside [1s, 1h]", f.Lease)
	}
	return nil
}

// worker runs compositions until ctx ends.
func (f workerFlags) worker(s *state, m compute.Models, log *slog.Logger) (*jobs.Worker, error) {
	library, err := archive.NewLibrary(s.blobs, filepath.Join(s.dir, "worker-modules"), libraryBytes)
	if err != nil {
		return nil, err
	}
	progress := redis.NewProgress(s.redis, redis.ProgressOptions{})
	s.close = append(s.close, func() error { progress.Close(); return nil })
	scores := &platform.Scores{Cache: redis.NewCache(s.redis, redis.CacheOptions{}), Store: s.store}
	host, err := os.Hostname()
	if err != nil {
		host = "worker"
	}
	return jobs.NewWorker(jobs.WorkerOptions{
		Queue: jobs.NewQueue(s.redis, jobs.QueueOptions{}), Store: s.store, Blobs: s.blobs, Library: library, Models: m, Optimizers: optimizers{},
		Progress: progress, Cached: scores.Cached, Name: host + "-" + processName(), Dir: filepath.Join(s.dir, "work"),
		Concurrency: f.Concurrency, Lease: f.Lease, Log: log,
	})
}
