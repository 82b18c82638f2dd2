package sim

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	seedFlag    = flag.Uint64("sim.seed", 0, "run this seed alone, with a trace; 0: many")
	firstFlag   = flag.Uint64("sim.first", 1, "first of many seeds")
	runsFlag    = flag.Uint64("sim.runs", 60, "how many seeds")
	stepsFlag   = flag.Int("sim.steps", 4000, "events of each seed before its faults heal")
	workersFlag = flag.Int("sim.workers", 2, "seeds to run at a time")
	rareFlag    = flag.Uint64("sim.rare", 0, "fail if a kind of action or fault occurred less often; 0: if it did not occur")
	tailFlag    = flag.Int("sim.tail", 60, "lines of trace to show of a failure")
	hostsFlag   = flag.Int("sim.hosts", 0, "engines; 0: as the seed says")
	absentFlag  = flag.String("sim.absent", "", "hosts that stay empty, as 1,3")
	offFlag     = flag.String("sim.off", "", "kinds of fault that do not happen, as crash,late")
	keepFlag    = flag.String("sim.keep", "", "the only faults that happen, as EVENT/KIND/NTH,...; none: no fault")
)

// configOfFlags is what one seed is run with: the inverse of replay.
func configOfFlags(seed uint64) (Config, error) {
	cfg := Config{Seed: seed, Steps: *stepsFlag, Hosts: *hostsFlag, Absent: map[int]bool{}, Off: map[Fault]bool{}}
	for _, s := range list(*absentFlag) {
		h, err := strconv.Atoi(s)
		if err != nil {
			return cfg, err
		}
		cfg.Absent[h] = true
	}
	for _, s := range list(*offFlag) {
		f, err := ParseFault(s)
		if err != nil {
			return cfg, err
		}
		cfg.Off[f] = true
	}
	if *keepFlag == "" {
		return cfg, nil
	}
	cfg.Keep = map[Injected]bool{}
	for _, s := range list(strings.TrimPrefix(*keepFlag, "none")) {
		in, err := parseInjected(s)
		if err != nil {
			return cfg, err
		}
		cfg.Keep[in] = true
	}
	return cfg, nil
}

func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' })
}

func parseInjected(s string) (in Injected, err error) {
	parts := strings.Split(s, "/")
	if len(parts) != 3 {
		return in, fmt.Errorf("%q is not EVENT/KIND/NTH", s)
	}
	var errs [3]error
	in.Event, errs[0] = strconv.ParseUint(parts[0], 10, 64)
	in.Fault, errs[1] = ParseFault(parts[1])
	in.Nth, errs[2] = strconv.Atoi(parts[2])
	return in, errors.Join(errs[:]...)
}

// replay is the command that runs a configuration again.
func replay(cfg Config) string {
	args := []string{fmt.Sprintf("-sim.seed=%d -sim.steps=%d", cfg.Seed, cfg.Steps)}
	if cfg.Hosts > 0 {
		args = append(args, fmt.Sprintf("-sim.hosts=%d", cfg.Hosts))
	}
	join := func(name string, parts []string) {
		if len(parts) > 0 {
			slices.Sort(parts)
			args = append(args, "-sim."+name+"="+strings.Join(parts, ","))
		}
	}
	var absent, off, keep []string
	for h := range cfg.Absent {
		absent = append(absent, strconv.Itoa(h))
	}
	for f := range cfg.Off {
		off = append(off, f.String())
	}
	for in := range cfg.Keep {
		keep = append(keep, fmt.Sprintf("%d/%s/%d", in.Event, in.Fault, in.Nth))
	}
	if cfg.Keep != nil && len(keep) == 0 {
		keep = []string{"none"}
	}
	join("absent", absent)
	join("off", off)
	join("keep", keep)
	return "go test ./gocore/coherence/sim -v -run '^TestSimulation$' " + strings.Join(args, " ")
}

// explain shows a failing run, as small as it could be made, and how to see it again.
func explain(t *testing.T, cfg Config, err error) {
	t.Helper()
	var f *Failure
	if !errors.As(err, &f) {
		t.Fatalf("%v\nreplay: %s", err, replay(cfg))
	}
	small, shrunk := Shrink(cfg, f)
	var tail []string
	again := small
	again.Trace = func(line string) {
		if tail = append(tail, line); len(tail) > *tailFlag {
			tail = tail[1:]
		}
	}
	if _, e := Run(again); e == nil || e.Error() != shrunk.Error() {
		t.Errorf("the shrunk run does not repeat itself: %v, before %v", e, shrunk)
	}
	t.Log(strings.Join(tail, "\n"))
	t.Fatalf("%v\nreplay: %s\nshrunk to: %v\nreplay: %s -sim.tail=100000", err, replay(cfg), shrunk, replay(small))
}

// TestSimulation runs many seeds side by side, each in a world of its own, and shows the first failure shrunk.
func TestSimulation(t *testing.T) {
	if *seedFlag != 0 {
		cfg, err := configOfFlags(*seedFlag)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Run(cfg); err != nil {
			showAsItIs(t, cfg, err)
		}
		return
	}
	start := time.Now()
	sum, failed := sweep(t)
	if len(failed) > 0 {
		first := slices.MinFunc(failed, func(a, b failedSeed) int { return cmp.Compare(a.cfg.Seed, b.cfg.Seed) })
		explain(t, first.cfg, first.err)
	}
	t.Logf("seeds %d to %d in %v: %v", *firstFlag, *firstFlag+*runsFlag-1, time.Since(start).Round(time.Millisecond), &sum)
	if rare := sum.Rare(max(*rareFlag, 1)); *runsFlag >= 60 && *stepsFlag >= 4000 && len(rare) > 0 {
		t.Errorf("a simulation in which nothing happens finds nothing; less than %d times: %s", max(*rareFlag, 1), strings.Join(rare, ", "))
	}
}

// showAsItIs shows a replay without shrinking it.
func showAsItIs(t *testing.T, cfg Config, err error) {
	var tail []string
	cfg.Trace = func(line string) {
		if tail = append(tail, line); len(tail) > *tailFlag {
			tail = tail[1:]
		}
	}
	_, _ = Run(cfg)
	t.Logf("\n%s", strings.Join(tail, "\n"))
	t.Fatal(err)
}

type failedSeed struct {
	cfg Config
	err error
}

// sweep runs the seeds until all are done or one has failed.
func sweep(t *testing.T) (sum Stats, failed []failedSeed) {
	t.Helper()
	var mu sync.Mutex
	var workers sync.WaitGroup
	next := *firstFlag
	for range max(*workersFlag, 1) {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for {
				mu.Lock()
				seed := next
				next++
				done := seed >= *firstFlag+*runsFlag || len(failed) > 0
				mu.Unlock()
				if done {
					return
				}
				cfg, err := configOfFlags(seed)
				var s Stats
				if err == nil {
					s, err = Run(cfg)
				}
				mu.Lock()
				sum.Add(s)
				if err != nil {
					failed = append(failed, failedSeed{cfg, err})
				}
				mu.Unlock()
			}
		}()
	}
	workers.Wait()
	return sum, failed
}
