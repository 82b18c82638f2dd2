package storesim

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"mooncake_te/gocore/coherence"
)

// Happened is a kind of thing that happens without being a fault.
type Happened uint8

// What happens.
const (
	Boot Happened = iota
	Open
	OpenWarm
	Lookup
	Sync
	Landed
	LeaseEnded
	numHappened
)

func (h Happened) String() string {
	return [...]string{"boot", "open", "warm open", "look-up", "sync", "head stored", "lease ended"}[h]
}

// actions are all that the machines may ask for.
var actions = []coherence.Action{
	coherence.StoreAcquire{}, coherence.StorePublish{}, coherence.StoreReadBack{}, coherence.StoreRenew{}, coherence.StoreRelease{},
	coherence.StoreRemake{}, coherence.RaiseVersion{}, coherence.OwnershipChanged{}, coherence.StoreWentBack{},
	coherence.DirGet{}, coherence.DirBind{}, coherence.DirAdopted{}, coherence.DirAnswer{}, coherence.DirGone{},
}

// Stats counts what happened, so that a test can tell that everything did.
type Stats struct {
	Runs, Steps uint64
	Happened    [numHappened]uint64
	Asked       [14]uint64 // by index in actions
	Faults      [numFaults]uint64
}

func (s *Stats) did(h Happened) { s.Happened[h]++ }

func (s *Stats) asked(a coherence.Action) {
	t := reflect.TypeOf(a)
	if i := slices.IndexFunc(actions, func(o coherence.Action) bool { return reflect.TypeOf(o) == t }); i >= 0 {
		s.Asked[i]++
	}
}

// Add sums two.
func (s *Stats) Add(o Stats) {
	s.Runs += o.Runs
	s.Steps += o.Steps
	for i, n := range o.Happened {
		s.Happened[i] += n
	}
	for i, n := range o.Asked {
		s.Asked[i] += n
	}
	for i, n := range o.Faults {
		s.Faults[i] += n
	}
}

// AllFaults sums over the kinds.
func (s *Stats) AllFaults() (n uint64) {
	for _, k := range s.Faults {
		n += k
	}
	return n
}

func (s *Stats) each(f func(name string, n uint64)) {
	for i, n := range s.Happened {
		f(Happened(i).String(), n)
	}
	for i, n := range s.Asked {
		f(reflect.TypeOf(actions[i]).Name(), n)
	}
	for i, n := range s.Faults {
		f("fault "+Fault(i).String(), n)
	}
}

// Rare names every kind that occurred less than n times.
func (s *Stats) Rare(n uint64) (rare []string) {
	s.each(func(name string, k uint64) {
		if k < n {
			rare = append(rare, fmt.Sprintf("%s: %d", name, k))
		}
	})
	return rare
}

// String is a table of all kinds.
func (s *Stats) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d runs, %d steps, %d faults", s.Runs, s.Steps, s.AllFaults())
	column := 0
	s.each(func(name string, n uint64) {
		if column%3 == 0 {
			b.WriteByte('\n')
		}
		column++
		fmt.Fprintf(&b, "  %-28s%10d", name, n)
	})
	return b.String()
}
