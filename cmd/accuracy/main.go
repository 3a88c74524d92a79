// Command accuracy measures what composing gives on the zoo's unseen tasks, and prints the table of the README.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/task"
)

func main() {
	detail := flag.Bool("detail", false, "print every search")
	only := flag.String("optimizer", "", "only this optimizer")
	budget := flag.Int("budget", 40, "evaluations per search")
	seed := flag.Uint64("seed", 42, "seed of the searches")
	draws := flag.Int("draws", 3, "draws of 20 modules, from 1")
	leaveOneOut := flag.Bool("leave-one-out", false, "measure on left-out examples instead of the evaluation files")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := print(ctx, *detail, *leaveOneOut, *only, *budget, *seed, *draws); err != nil {
		fmt.Fprintln(os.Stderr, "accuracy:", err)
		os.Exit(1)
	}
}

func settings(only string, budget int, seed uint64) []setting {
	all := []setting{
		{lora.Delta, "gntr", task.Sparse, budget, seed},
		{lora.Product, "gntr", task.Sparse, budget, seed},
		{lora.Delta, "cobyla", task.Sparse, budget, seed},
		{lora.Product, "cobyla", task.LoraHub, budget, seed},
		{lora.Delta, "random", task.Sparse, budget, seed},
	}
	var chosen []setting
	for _, s := range all {
		if only == "" || s.optimizer == only {
			chosen = append(chosen, s)
		}
	}
	return chosen
}

func print(ctx context.Context, detail, leaveOneOut bool, only string, budget int, seed uint64, drawCount int) error {
	z, err := openBench(ctx)
	if err != nil {
		return err
	}
	defer z.close()
	var draws []int64
	for d := range drawCount {
		draws = append(draws, int64(d+1))
	}
	fmt.Println("| composition | search | objective | accuracy | 95 % interval | zero-shot | best single | seconds a search |")
	fmt.Println("|---|---|---|---|---|---|---|---|")
	for _, s := range settings(only, budget, seed) {
		start := time.Now()
		if leaveOneOut {
			accuracy, loss, err := z.leaveOneOut(ctx, s, draws)
			if err != nil {
				return err
			}
			fmt.Printf("| `%s` | %s | %s | left out: %.1f | loss %.4f | | | |\n", s.method, s.optimizer, s.objective, accuracy, loss)
			continue
		}
		all, err := z.measure(ctx, s, draws)
		if err != nil {
			return err
		}
		mean, low, high := interval(column(all, func(o outcome) float64 { return o.composed }))
		fmt.Printf("| `%s` | %s | %s | %.1f | %.1f to %.1f | %.1f | %.1f | %.2f |\n", s.method, s.optimizer, s.objective, mean, low, high,
			average(column(all, func(o outcome) float64 { return o.zero })), average(column(all, func(o outcome) float64 { return o.single })),
			time.Since(start).Seconds()/float64(len(all)))
		if detail {
			for _, o := range all {
				fmt.Printf("  %-16s draw %d: zero %5.1f single %5.1f composed %5.1f  objective %.4f (single %.4f) loss %.4f held-out %.4f\n",
					o.task, o.draw, o.zero, o.single, o.composed, o.objective, o.singleObjective, o.trained, o.heldOut)
			}
		}
	}
	return nil
}
