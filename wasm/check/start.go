package check

import (
	"context"
	"fmt"
	"time"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/search/searchcheck"
	"github.com/medley-lora/medley/wasm/host"
)

// start runs the plugin as a search does: compiled, in a process of its own, up to its first candidate. It returns whether that went well.
func (r *run) start() bool {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(r.ctx, r.options.Each)
	defer cancel()
	pool := host.NewPool(host.PoolOptions{Command: r.options.Sandbox})
	guest, err := host.NewIsolated(ctx, pool, r.wasm, searchcheck.Problem(1, 8, 1), r.options.Plugin)
	if err != nil {
		r.add(judge(checkStart, begin, "", late(ctx, r.options.Each, err)))
		return false
	}
	defer guest.Close()
	ready := time.Since(begin)
	err = firstRound(guest)
	first := time.Since(begin) - ready
	info := guest.Info()
	if err == nil {
		r.report.Plugin = &info
	}
	detail := fmt.Sprintf("%s, interface %d.%d\nready after %v, first candidate %v later", described(info), info.ABI>>16, info.ABI&0xffff, rounded(ready), rounded(first))
	r.add(judge(checkStart, begin, detail, late(ctx, r.options.Each, err)))
	return err == nil
}

// firstRound asks, tells and chooses once.
func firstRound(o *host.Isolated) error {
	x, err := o.Ask(1)
	if err != nil {
		return err
	}
	if len(x) == 0 {
		return fault.New(fault.Invalid, "", "opt_ask returned 0 candidates the first time, as if it had converged")
	}
	if err := o.Tell(x, []search.Score{{Objective: 1, LogProbs: []float64{-1, -1, -1, -1, -1, -1}}}); err != nil {
		return err
	}
	_ = o.Best() // whose error is Err
	return o.Err()
}

// late says it in words about checks when the time of one was over, whatever came of it.
func late(ctx context.Context, limit time.Duration, err error) error {
	if ctx.Err() != nil {
		return fault.New(fault.TooLarge, "", "the check took longer than %v", limit)
	}
	return err
}

func described(info host.Info) string {
	text := quote(info.Name)
	if info.Version != "" {
		text += " " + quote(info.Version)
	}
	if info.MaxDim > 0 {
		text += fmt.Sprintf(", at most %d weights", info.MaxDim)
	}
	if info.WantsAux {
		text += ", reads log-probabilities"
	}
	return text
}

// rounded is precise enough to judge by.
func rounded(d time.Duration) time.Duration {
	switch {
	case d > time.Second:
		return d.Round(10 * time.Millisecond)
	case d > time.Millisecond:
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(10 * time.Nanosecond)
}
