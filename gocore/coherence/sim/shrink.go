package sim

import (
	"errors"
	"maps"
)

// shrinkRuns bounds how many runs one shrinking may take.
const shrinkRuns = 1500

// Shrink makes a failing run smaller while the same rule is violated: fewer steps, fewer engines, fewer kinds of fault,
// and then fewer single faults. Which of the smaller runs fail is luck, since whatever is left out changes what follows;
// but an event draws its random numbers from its own number, so much stays as it was.
func Shrink(cfg Config, f *Failure) (Config, *Failure) {
	s := &shrinker{best: cfg, failure: f, runs: shrinkRuns}
	s.fewerSteps()
	s.fewerHosts()
	s.fewerKinds()
	s.fewerFaults()
	s.fewerHosts()
	s.fewerSteps()
	return s.best, s.failure
}

type shrinker struct {
	best    Config
	failure *Failure
	runs    int // left
}

// try keeps a configuration if it still fails by the same rule, and not later.
func (s *shrinker) try(cfg Config) bool {
	if s.runs <= 0 {
		return false
	}
	s.runs--
	_, err := Run(cfg)
	var f *Failure
	if !errors.As(err, &f) || f.Rule != s.failure.Rule {
		return false
	}
	s.best, s.failure = cfg, f
	return true
}

// fewerSteps ends the faults as early as it can: at the failure itself if it came before the healing.
func (s *shrinker) fewerSteps() {
	if !s.failure.Healing {
		cfg := s.best
		cfg.Steps = int(s.failure.Event)
		s.try(cfg)
	}
	for n := 2; n <= 64; n *= 2 {
		for {
			cfg := s.best
			cfg.Steps -= max(cfg.Steps/n, 1)
			if cfg.Steps < 1 || !s.try(cfg) {
				break
			}
		}
	}
}

func (s *shrinker) fewerHosts() {
	for h := range 16 { // more than a run has
		if s.best.Absent[h] {
			continue
		}
		cfg := s.best
		cfg.Absent = maps.Clone(cfg.Absent)
		if cfg.Absent == nil {
			cfg.Absent = map[int]bool{}
		}
		cfg.Absent[h] = true
		if runs := s.runs; runs > 0 && cfg.hosts()-len(cfg.Absent) >= 1 {
			s.try(cfg)
		}
	}
}

// hosts is how many engines a run of this configuration has at its beginning.
func (c Config) hosts() int {
	if c.Hosts > 0 {
		return c.Hosts
	}
	return newWorld(c).drawHosts()
}

func (s *shrinker) fewerKinds() {
	for f := range numFaults {
		if s.best.Off[f] {
			continue
		}
		cfg := s.best
		cfg.Off = maps.Clone(cfg.Off)
		if cfg.Off == nil {
			cfg.Off = map[Fault]bool{}
		}
		cfg.Off[f] = true
		s.try(cfg)
	}
}

// fewerFaults leaves single faults out, first many at a time.
func (s *shrinker) fewerFaults() {
	none := s.best
	none.Off, none.Keep = nil, map[Injected]bool{}
	if s.try(none) {
		return
	}
	list := s.recorded()
	for size := max(len(list)/2, 1); size >= 1 && len(list) > 0; size /= 2 {
		for at := 0; at < len(list); {
			cfg := s.best
			cfg.Keep = map[Injected]bool{}
			for i, in := range list {
				if i < at || i >= at+size {
					cfg.Keep[in] = true
				}
			}
			cfg.Off = nil // says nothing more
			if s.try(cfg) {
				list = s.recorded()
				continue
			}
			at += size
		}
	}
}

// recorded lists the faults of the best run so far.
func (s *shrinker) recorded() (list []Injected) {
	cfg := s.best
	cfg.Record = func(in Injected) { list = append(list, in) }
	_, _ = Run(cfg)
	return list
}
