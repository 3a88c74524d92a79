package main

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/medley-lora/medley/shared/pyrandom"
)

// bbhData writes two tasks in the form of BIG-Bench Hard's files, from the zoo's own task files.
func (p place) bbhData(t *testing.T) string {
	t.Helper()
	dir := p.to("data")
	for _, name := range []string{"several", "versus"} {
		examples, err := zooExamples(name, "few")
		if err != nil {
			t.Fatal(err)
		}
		items := []map[string]string{}
		for i := range 112 {
			e := examples[i%len(examples)]
			items = append(items, map[string]string{"input": e.Input, "target": e.Output})
		}
		data, err := json.Marshal(map[string]any{"canary": "none", "examples": items})
		if err != nil {
			t.Fatal(err)
		}
		p.write(t, "data/"+name+".json", string(data))
	}
	return dir
}

func (p place) bbh(data, out string, more ...string) []string {
	return append([]string{
		"bench", "bbh", "--data", data, "--base", p.base(), "--modules", filepath.Join(p.zoo, "modules", "*"), "--out", p.to(out), "--backend", "cpu",
		"--max-tokens", "8", "--budget", "12",
	}, more...)
}

// withoutTimes is a result without what differs from run to run.
func withoutTimes(r bbhResult) bbhResult {
	r.Command, r.Tasks = "", slices.Clone(r.Tasks)
	for i := range r.Tasks {
		r.Tasks[i].SearchSeconds, r.Tasks[i].AnswerSeconds, r.Tasks[i].Seconds = 0, 0, 0
	}
	r.Average.SearchSeconds, r.Average.AnswerSeconds, r.Average.Seconds = 0, 0, 0
	return r
}

// tableOf is the table of accuracies in a page.
func tableOf(t *testing.T, page string) string {
	t.Helper()
	_, rest, _ := strings.Cut(read(t, page), "accuracy.svg)")
	table, _, found := strings.Cut(rest, "The published average")
	if !found || !strings.Contains(table, "| published average |  | 27.0 |  | 34.7 | 41.2 |") {
		t.Fatalf("%s has no table:\n%s", page, rest)
	}
	return table
}

// TestBenchBBH: a run that is stopped again and again ends at the table of an unbroken one, and both draw what Python draws.
func TestBenchBBH(t *testing.T) {
	p := newPlace(t)
	data := p.bbhData(t)
	whole := decode[bbhResult](t, succeed(t, p.bbh(data, "whole", "--json")...))
	if !whole.Complete || len(whole.Tasks) != 2 || whole.Modules != 22 {
		t.Fatalf("%+v", whole)
	}
	stops := 0
	var broken bbhResult
	for !broken.Complete && stops < 30 {
		ctx, stop := context.WithCancel(t.Context())
		go func() { // as soon as something new is kept
			before := fileSize(filepath.Join(p.to("broken"), bbhFolder, bbhStateName))
			for ctx.Err() == nil && fileSize(filepath.Join(p.to("broken"), bbhFolder, bbhStateName)) == before {
				time.Sleep(time.Millisecond)
			}
			time.Sleep(20 * time.Millisecond)
			stop()
		}()
		o := medleyWith(ctx, "", p.bbh(data, "broken", "--json")...)
		stop()
		if o.code != 0 {
			if stops++; o.code != exitCanceled {
				t.Fatalf("exit code %d: %s", o.code, o.stderr)
			}
			if o.stdout == "" {
				continue // stopped before the first measurement
			}
		}
		broken = decode[bbhResult](t, o)
	}
	if stops < 3 {
		t.Errorf("it was stopped %d times only", stops)
	}
	if a, b := withoutTimes(whole), withoutTimes(broken); !reflect.DeepEqual(a, b) {
		t.Errorf("unbroken: %+v\nstopped %d times: %+v", a, stops, b)
	}
	if a, b := tableOf(t, filepath.Join(p.to("whole"), "bbh.md")), tableOf(t, filepath.Join(p.to("broken"), "bbh.md")); a != b {
		t.Errorf("unbroken:\n%s\nstopped %d times:\n%s", a, stops, b)
	}
	checkBBHState(t, filepath.Join(p.to("broken"), bbhFolder, bbhStateName))
	for _, name := range []string{"accuracy.svg", "search.svg", "tokens.svg"} {
		var v struct{}
		if err := xml.Unmarshal([]byte(read(t, filepath.Join(p.to("whole"), bbhFolder, name))), &v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}

	// Again: everything is known. Fewer tasks: a part of it. Other settings: refused, with nothing lost.
	again := decode[bbhResult](t, succeed(t, p.bbh(data, "whole", "--json")...))
	if !reflect.DeepEqual(again.Tasks, whole.Tasks) { // times too
		t.Errorf("again: %+v", again)
	}
	one := decode[bbhResult](t, succeed(t, p.bbh(data, "whole", "--json", "--task", "versus", "--draws", "3")...))
	if len(one.Tasks) != 1 || !slices.Equal(one.Tasks[0].Draws, whole.Tasks[1].Draws[:3]) {
		t.Errorf("one task: %+v", one)
	}
	state := read(t, filepath.Join(p.to("whole"), bbhFolder, bbhStateName))
	o := medley(t, p.bbh(data, "whole", "--seed", "7", "--method", "product")...)
	if o.code != exitUsage || !strings.Contains(o.stderr, "other settings (method, seed)") || read(t, filepath.Join(p.to("whole"), bbhFolder, bbhStateName)) != state {
		t.Errorf("other settings: exit code %d, %s", o.code, o.stderr)
	}
}

// checkBBHState holds what was measured to the protocol.
func checkBBHState(t *testing.T, path string) {
	t.Helper()
	var s bbhState
	if err := json.Unmarshal([]byte(read(t, path)), &s); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	names := zooModules(t)
	for _, c := range s.Cells {
		key := fmt.Sprint(c.Task, c.Way, c.Draw)
		if seen[key] || c.Items != 12 || c.Right > c.Items || c.PromptTokens == 0 || c.Cut != 0 {
			t.Errorf("%+v", c)
		}
		seen[key] = true
		if c.Way != wayComposed {
			continue
		}
		var want []string
		for _, at := range pyrandom.New(int64(c.Draw)).Sample(len(names), 20) {
			want = append(want, names[at])
		}
		if !slices.Equal(c.Modules, want) || c.Evaluations > 12 || len(c.Weights) != 20 || len(c.Best) == 0 {
			t.Errorf("%s, draw %d: %d evaluations of %v", c.Task, c.Draw, c.Evaluations, c.Modules)
		}
	}
	if len(seen) != 2*(2+5) {
		t.Errorf("%d measurements", len(seen))
	}
}

func zooModules(t *testing.T) []string {
	t.Helper()
	p := newPlace(t)
	all, err := modulesFlag{Modules: []string{p.module("*")}}.list()
	if err != nil {
		t.Fatal(err)
	}
	return names(all)
}

func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

func TestBenchBBHMisuse(t *testing.T) {
	p := newPlace(t)
	data := p.bbhData(t)
	short := filepath.Dir(p.write(t, "short/x.json", `{"examples": [{"input": "a", "target": "b"}]}`))
	state := p.write(t, "wrong/bbh/state.json", `{"version": 99}`)
	impossible := p.write(t, "impossible/bbh/state.json", `{"version": 1, "cells": [{"task": "several", "items": 0}]}`)
	for name, c := range map[string]struct {
		args []string
		part string
	}{
		"no data":          {p.bbh(p.to("none"), "o"), "--data"},
		"an empty task":    {p.bbh(short, "o"), "x: examples: there are 1"},
		"unknown task":     {p.bbh(data, "o", "--task", "snarks"), "there are several, versus"},
		"too large a draw": {p.bbh(data, "o", "--sample", "23"), "--sample"},
		"no draws":         {p.bbh(data, "o", "--draws", "0"), "--draws"},
		"negative limit":   {p.bbh(data, "o", "--limit=-1"), "--limit"},
		"objective":        {p.bbh(data, "o", "--objective", "joy"), "objective"},
		"other state":      {p.bbh(data, filepath.Base(filepath.Dir(filepath.Dir(state)))), "not the state of a run of this version"},
		"impossible state": {p.bbh(data, filepath.Base(filepath.Dir(filepath.Dir(impossible)))), "a measurement that cannot be"},
		"no base":          {append(p.bbh(data, "o"), "--base", p.to("none")), "--base"},
	} {
		if o := medley(t, c.args...); o.code != exitUsage || !strings.Contains(o.stderr, c.part) || o.stdout != "" {
			t.Errorf("%s: exit code %d: %s", name, o.code, o.stderr)
		}
	}
}

// What is shown of a limited run says so, and means over draws are what they say.
func TestBenchBBHShows(t *testing.T) {
	p := newPlace(t)
	o := succeed(t, p.bbh(p.bbhData(t), "o", "--limit", "4", "--draws", "2", "--task", "several", "--sample", "3")...)
	for _, part := range []string{"Of each task only the first 4 items asked", "comparable only for that base"} {
		if !strings.Contains(o.stderr, part) {
			t.Errorf("stderr does not say %q: %s", part, o.stderr)
		}
	}
	if !strings.Contains(o.stdout, "published average") || !strings.Contains(o.stdout, "34.7") || !strings.Contains(o.stdout, "several") {
		t.Errorf("the table: %s", o.stdout)
	}
}

func TestBBHRows(t *testing.T) {
	cell := func(way string, draw, right int) bbhCell {
		return bbhCell{Way: way, Draw: draw, Items: 4, Right: right, PromptTokens: 40, AnswerTokens: 8, SearchSeconds: 1, AnswerSeconds: 2}
	}
	whole := newBBHRow("a", []bbhCell{cell(wayComposed, 2, 4), cell(wayZeroShot, 0, 1), cell(wayFiveShot, 0, 2), cell(wayComposed, 1, 1)}, 2)
	if *whole.ZeroShot != 25 || *whole.FiveShot != 50 || *whole.Mean != 62.5 || *whole.Best != 100 || !slices.Equal(whole.Draws, []float64{25, 100}) ||
		whole.Tokens != (bbhTokens{10, 10, 10, 2}) || whole.Seconds != 12 {
		t.Errorf("%+v", whole)
	}
	part := newBBHRow("b", []bbhCell{cell(wayZeroShot, 0, 1), cell(wayComposed, 1, 1)}, 2)
	if part.Mean != nil || part.Best != nil || part.FiveShot != nil || part.complete() {
		t.Errorf("%+v", part)
	}
	if average := averageRow([]bbhRow{whole, part}); *average.Mean != 62.5 || *average.Best != 100 || average.Items != 4 {
		t.Errorf("%+v", average)
	}
	if average := averageRow([]bbhRow{part}); average.Mean != nil {
		t.Errorf("of nothing: %+v", average)
	}
}
