// Command accuracy measures what composing gives on the zoo's unseen tasks, and prints the table of the README.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/task"
)

// options are the flags.
type options struct {
	detail, leaveOneOut bool
	only                string
	budgets, batches    []int
	seed                uint64
	draws               []int64
}

func main() {
	var o options
	flag.BoolVar(&o.detail, "detail", false, "print every search")
	flag.StringVar(&o.only, "optimizer", "", "only this optimizer")
	flag.Uint64Var(&o.seed, "seed", 42, "seed of the searches")
	flag.BoolVar(&o.leaveOneOut, "leave-one-out", false, "measure on left-out examples instead of the evaluation files")
	budgets := flag.String("budget", "40", "evaluations per search, or several numbers with commas")
	batches := flag.String("batch", "64", "candidates scored at once, or several numbers with commas")
	draws := flag.Int("draws", 3, "draws of 20 modules, from 1")
	flag.Parse()
	for d := range *draws {
		o.draws = append(o.draws, int64(d+1))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	if o.budgets, err = numbers(*budgets); err == nil {
		if o.batches, err = numbers(*batches); err == nil {
			err = print(ctx, o)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "accuracy:", err)
		os.Exit(1)
	}
}

func numbers(list string) ([]int, error) {
	var all []int
	for _, field := range strings.Split(list, ",") {
		n, err := strconv.Atoi(field)
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, nil
}

func settings(only string, budget, batch int, seed uint64) []setting {
	all := []setting{
		{lora.Delta, "gntr", task.Sparse, budget, batch, seed},
		{lora.Product, "gntr", task.Sparse, budget, batch, seed},
		{lora.Delta, "cobyla", task.Sparse, budget, batch, seed},
		{lora.Product, "cobyla", task.LoraHub, budget, batch, seed},
		{lora.Delta, "random", task.Sparse, budget, batch, seed},
	}
	var chosen []setting
	for _, s := range all {
		if only == "" || s.optimizer == only {
			chosen = append(chosen, s)
		}
	}
	return chosen
}

func print(ctx context.Context, o options) error {
	z, err := openBench(ctx)
	if err != nil {
		return err
	}
	defer z.close()
	for _, budget := range o.budgets {
		for _, batch := range o.batches {
			if err := z.table(ctx, o, budget, batch); err != nil {
				return err
			}
		}
	}
	return nil
}

// table prints a row per setting. Loss is that of the examples accuracy is of; differences are to the first row, search by search.
func (z *bench) table(ctx context.Context, o options, budget, batch int) error {
	fmt.Printf("\nUp to %d evaluations in batches of up to %d.\n\n", budget, batch)
	fmt.Println("| composition | search | objective | accuracy | 95 % interval | difference | loss | difference | few-shot loss | few-shot objective |" +
		" zero-shot | best single | evaluations | seconds a search |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
	var first []outcome
	for _, s := range settings(o.only, budget, batch, o.seed) {
		start := time.Now()
		all, err := z.measure(ctx, s, o.draws, o.leaveOneOut)
		if err != nil {
			return err
		}
		if first == nil {
			first = all
		}
		mean := func(f func(outcome) float64) float64 { return average(column(all, f)) }
		accuracy, low, high := interval(column(all, outcome.accuracy))
		better, betterError := difference(all, first, outcome.accuracy)
		lower, lowerError := difference(all, first, outcome.measuredLoss)
		fmt.Printf("| `%s` | %s | %s | %.1f | %.1f to %.1f | %+.1f ± %.1f | %.3f | %+.3f ± %.3f | %.3f | %.3f | %.1f | %.1f | %.1f | %.2f |\n",
			s.method, s.optimizer, s.objective, accuracy, low, high, better, betterError, mean(outcome.measuredLoss), lower, lowerError,
			mean(func(o outcome) float64 { return o.trained }), mean(func(o outcome) float64 { return o.objective }),
			mean(func(o outcome) float64 { return o.zero }), mean(func(o outcome) float64 { return o.single }),
			mean(func(o outcome) float64 { return float64(o.evaluations) }), time.Since(start).Seconds()/float64(len(all)))
		if o.detail {
			for _, o := range all {
				fmt.Printf("  %-16s draw %d: zero %5.1f single %5.1f composed %5.1f  objective %.4f (single %.4f) loss %.4f measured %.4f\n",
					o.task, o.draw, o.zero, o.single, o.composed, o.objective, o.singleObjective, o.trained, o.loss)
			}
		}
	}
	return nil
}
