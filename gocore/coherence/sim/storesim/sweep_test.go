package storesim

import (
	"errors"
	"flag"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	seedFlag    = flag.Uint64("sim.seed", 0, "run this seed alone, with a trace; 0: many")
	firstFlag   = flag.Uint64("sim.first", 1, "first of many seeds")
	runsFlag    = flag.Uint64("sim.runs", 60, "how many seeds")
	stepsFlag   = flag.Int("sim.steps", 3000, "events of each seed before its faults heal")
	workersFlag = flag.Int("sim.workers", 2, "seeds to run at a time")
	rareFlag    = flag.Uint64("sim.rare", 0, "fail if a kind of action or fault occurred less often; 0: if it did not occur")
	tailFlag    = flag.Int("sim.tail", 80, "lines of trace to show of a failure")
	offFlag     = flag.String("sim.off", "", "kinds of fault that do not happen, as owner-crash,watch-cut")
	grepFlag    = flag.String("sim.grep", "", "show only lines of the trace that contain this")
)

func configOfFlags(t *testing.T, seed uint64) Config {
	t.Helper()
	cfg := Config{Seed: seed, Steps: *stepsFlag, Off: map[Fault]bool{}}
	for _, s := range strings.FieldsFunc(*offFlag, func(r rune) bool { return r == ',' }) {
		f, err := ParseFault(s)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Off[f] = true
	}
	return cfg
}

// TestSimulation runs many seeds side by side, each in a world of its own, and shows the first failure shrunk.
func TestSimulation(t *testing.T) {
	if *seedFlag != 0 {
		show(t, configOfFlags(t, *seedFlag))
		return
	}
	start := time.Now()
	var (
		mu     sync.Mutex
		sum    Stats
		failed []Config
		group  sync.WaitGroup
		next   = *firstFlag
	)
	for range max(*workersFlag, 1) {
		group.Go(func() {
			for {
				mu.Lock()
				seed := next
				next++
				done := seed >= *firstFlag+*runsFlag || len(failed) > 0
				mu.Unlock()
				if done {
					return
				}
				cfg := configOfFlags(t, seed)
				s, err := Run(cfg)
				mu.Lock()
				sum.Add(s)
				if err != nil {
					failed = append(failed, cfg)
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if len(failed) > 0 {
		show(t, shrink(slices.MinFunc(failed, func(a, b Config) int { return int(a.Seed) - int(b.Seed) })))
	}
	t.Logf("seeds %d to %d in %v: %v", *firstFlag, *firstFlag+*runsFlag-1, time.Since(start).Round(time.Millisecond), &sum)
	if rare := sum.Rare(max(*rareFlag, 1)); *runsFlag >= 60 && *stepsFlag >= 3000 && len(rare) > 0 {
		t.Errorf("a simulation in which nothing happens finds nothing; less than %d times: %s", max(*rareFlag, 1), strings.Join(rare, ", "))
	}
}

// shrink leaves out steps and kinds of fault while the same rule is violated.
func shrink(cfg Config) Config {
	fails := func(c Config) *Failure {
		_, err := Run(c)
		var f *Failure
		errors.As(err, &f)
		return f
	}
	f := fails(cfg)
	try := func(c Config) bool {
		g := fails(c)
		if g == nil || f == nil || g.Rule != f.Rule {
			return false
		}
		cfg, f = c, g
		return true
	}
	for k := range numFaults {
		c := cfg
		c.Off = map[Fault]bool{k: true}
		for o := range cfg.Off {
			c.Off[o] = true
		}
		try(c)
	}
	for n := 2; n <= 64; n *= 2 {
		for {
			c := cfg
			c.Steps -= max(c.Steps/n, 1)
			if c.Steps < 1 || !try(c) {
				break
			}
		}
	}
	return cfg
}

// show runs a configuration with its trace and fails.
func show(t *testing.T, cfg Config) {
	t.Helper()
	var tail []string
	cfg.Trace = func(line string) {
		if !strings.Contains(line, *grepFlag) && !strings.Contains(line, "VIOLATION") {
			return
		}
		if tail = append(tail, line); len(tail) > *tailFlag {
			tail = tail[1:]
		}
	}
	_, err := Run(cfg)
	t.Logf("\n%s", strings.Join(tail, "\n"))
	if err != nil {
		var off []string
		for f := range cfg.Off {
			off = append(off, f.String())
		}
		slices.Sort(off)
		t.Fatalf("%v\nreplay: go test ./gocore/coherence/sim/storesim -v -run '^TestSimulation$' -sim.seed=%d -sim.steps=%d -sim.off=%s",
			err, cfg.Seed, cfg.Steps, strings.Join(off, ","))
	}
}
