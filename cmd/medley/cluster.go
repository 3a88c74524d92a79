package main

import (
	"context"
	"log/slog"
	"sync"

	"github.com/medley-lora/medley/edge/compute"
	"github.com/medley-lora/medley/gpu/service"
	"github.com/medley-lora/medley/shared/fault"
)

// evaluatorFlags name the evaluators of a cluster.
type evaluatorFlags struct {
	Evaluator []string `env:"MEDLEY_EVALUATOR" placeholder:"URL" help:"An evaluator, http://HOST:9090; may be repeated. All of them serve the same bases."`
	Precision string   `default:"f32" help:"The evaluators' --precision, so that scores are remembered as what they are."`
	Quantize  string   `placeholder:"q8|q4" help:"The evaluators' --quantize, likewise."`
	Chat      bool     `help:"The evaluators' --chat, likewise."`
	secretFlag
}

// models asks the evaluators.
func (f evaluatorFlags) models(s *state) (compute.Models, error) {
	if len(f.Evaluator) == 0 {
		return nil, fault.New(fault.Invalid, "--evaluator", "is missing: somebody must run the models (medley evaluator)")
	}
	secret, err := f.read()
	if err != nil {
		return nil, err
	}
	all := &models{variant: backendFlag{Precision: f.Precision, Quantize: f.Quantize, Chat: f.Chat}.variant()}
	for _, url := range f.Evaluator {
		r, err := service.NewRemote(service.RemoteOptions{URL: url, Secret: secret})
		if err != nil {
			return nil, fault.In("--evaluator "+url, err)
		}
		s.close = append(s.close, func() error { r.Close(); return nil })
		all.evaluators = append(all.evaluators, remote{r})
	}
	return all, nil
}

type gatewayCommand struct {
	stateFlags
	gatewayFlags
	evaluatorFlags
	logFlags
}

// Help is what kong prints above the flags.
func (*gatewayCommand) Help() string {
	return "Answer the API for a cluster. Its gateways share Redis, the database, the blobs and the folder of --keys (mount it, or copy it to " +
		"all)."
}

func (c *gatewayCommand) Run(a *app) error {
	if err := c.gatewayFlags.check(); err != nil {
		return err
	}
	return inCluster(a, c.stateFlags, c.evaluatorFlags, c.logFlags, func(s *state, m compute.Models, log *slog.Logger) error {
		listener, err := listen(c.Listen)
		if err != nil {
			return err
		}
		defer listener.Close()
		p, err := c.platform(s, m, log)
		if err != nil {
			return err
		}
		ctx, stop := context.WithCancel(a.ctx)
		var background sync.WaitGroup
		defer background.Wait()
		defer stop()
		background.Go(func() { p.Keep(ctx) })
		return c.serve(a, p, listener)
	})
}

type workerCommand struct {
	stateFlags
	workerFlags
	evaluatorFlags
	logFlags
}

// Help is what kong prints above the flags.
func (*workerCommand) Help() string {
	return "Run the compositions of a cluster, each under a lease: one whose worker dies goes on at another where it was."
}

func (c *workerCommand) Run(a *app) error {
	if err := c.workerFlags.check(); err != nil {
		return err
	}
	return inCluster(a, c.stateFlags, c.evaluatorFlags, c.logFlags, func(s *state, m compute.Models, log *slog.Logger) error {
		w, err := c.worker(s, m, log)
		if err != nil {
			return err
		}
		a.note("Working as %s.", w.Name)
		w.Run(a.ctx)
		return nil
	})
}

// inCluster opens what the roles of a cluster share.
func inCluster(a *app, f stateFlags, e evaluatorFlags, l logFlags, run func(*state, compute.Models, *slog.Logger) error) error {
	dir, err := f.folder()
	if err != nil {
		return err
	}
	unlock, err := lockFolder(dir)
	if err != nil {
		return err
	}
	defer unlock()
	s, err := f.open(a.ctx, true)
	if err != nil {
		return err
	}
	defer s.end()
	m, err := e.models(s)
	if err != nil {
		return err
	}
	return run(s, m, l.logger(a))
}
