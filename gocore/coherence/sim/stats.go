package sim

import (
	"fmt"
	"strings"
)

// Stats counts what happened, so that a test can tell that everything did.
type Stats struct {
	Runs, Steps uint64
	Actions     [numActions]uint64
	Faults      [numFaults]uint64
}

// Add sums two.
func (s *Stats) Add(o Stats) {
	s.Runs += o.Runs
	s.Steps += o.Steps
	for i, n := range o.Actions {
		s.Actions[i] += n
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

// Rare names every kind that occurred less than n times.
func (s *Stats) Rare(n uint64) (rare []string) {
	for i, k := range s.Actions {
		if Action(i) != firstAsked && k < n {
			rare = append(rare, fmt.Sprintf("%s: %d", Action(i), k))
		}
	}
	for i, k := range s.Faults {
		if k < n {
			rare = append(rare, fmt.Sprintf("fault %s: %d", Fault(i), k))
		}
	}
	return rare
}

// String is a table of all kinds.
func (s *Stats) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d runs, %d steps, %d faults\n", s.Runs, s.Steps, s.AllFaults())
	column := 0
	cell := func(name string, n uint64) {
		fmt.Fprintf(&b, "  %-28s%10d", name, n)
		if column++; column%3 == 0 {
			b.WriteByte('\n')
		}
	}
	part := func(title string) {
		if column%3 != 0 {
			b.WriteByte('\n')
		}
		column = 0
		b.WriteString(title + "\n")
	}
	part("actions")
	for i, n := range s.Actions {
		if Action(i) == firstAsked {
			part("asked for by the machines")
			continue
		}
		cell(Action(i).String(), n)
	}
	part("faults")
	for i, n := range s.Faults {
		cell(Fault(i).String(), n)
	}
	return strings.TrimRight(b.String(), "\n")
}
