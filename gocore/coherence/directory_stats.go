package coherence

import (
	"fmt"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// DirectoryStats is a snapshot for status and metrics.
type DirectoryStats struct {
	// Present.
	Names, Open, Bound, Instances int
	Waiting                       int // tickets
	GetsRunning, BindsRunning     int
	Watching                      bool
	StoreID                       string
	Revision                      uint64
	// Totals since the start.
	Opens                        uint64
	Gets, GetsFailed             uint64
	StaleAnswers                 uint64 // of a store that was over when they came
	Binds, BindsFailed           uint64
	BindsVoid                    uint64 // the store had said something else meanwhile
	Adopted, Replaced, Gone      uint64
	OlderIgnored, InvalidIgnored uint64
	Clashes                      uint64 // another instance under the same epoch
	Listings, WatchesLost        uint64
	StoreChanges, Remakes        uint64
}

// Stats returns a snapshot.
func (d *Directory) Stats() DirectoryStats {
	s := d.stats
	s.Names, s.Instances, s.Watching, s.StoreID, s.Revision = len(d.names), len(d.instances), d.watching, d.store.id, d.store.revision
	for _, n := range d.names {
		s.Waiting += len(n.waiters)
		if n.refs > 0 {
			s.Open++
		}
		if n.inst != nil {
			s.Bound++
		}
		if n.getting {
			s.GetsRunning++
		}
		if n.binding != nil {
			s.BindsRunning++
		}
	}
	return s
}

// NameState is what is known of one open name, for status.
type NameState struct {
	Name     string
	Refs     int
	Bound    bool
	Instance types.InstanceID // where it leads, or led
	Epoch    uint64
	StoreID  string
	Version  types.Version
	Legacy   bool
	Source   string     // of what was adopted
	Age      types.Time // since it was last proven
	Fresh    bool
	Expired  bool
	Gone     bool
	Getting  bool         // the store is being asked
	Binding  bool         // an instance is being reached
	Code     errcode.Code // of the last answer of the store or, if that was good, of the instance
	Detail   string
}

// Names lists the open names in order.
func (d *Directory) Names(now types.Time) []NameState {
	var out []NameState
	for _, name := range d.openNames() {
		n := d.names[name]
		s := NameState{Name: name, Refs: n.refs, Bound: n.inst != nil, Source: n.source, Gone: n.gone, Getting: n.getting, Binding: n.binding != nil, Legacy: n.latestLegacy,
			Code: n.result, Detail: n.resultDetail, Fresh: d.fresh(now, n)}
		if s.Code == errcode.OK && n.unbound() {
			s.Code, s.Detail = n.bindCode, n.bindDetail
		}
		if h := n.head; h != nil {
			s.Instance, s.Epoch, s.StoreID, s.Version = h.Instance, h.Epoch, h.StoreID, h.Version
			s.Age, s.Expired = now-d.provenAt(n), d.expired(now, n)
		}
		out = append(out, s)
	}
	return out
}

// CheckInvariants looks for contradictions. It costs time in proportion to the names.
func (d *Directory) CheckInvariants() error {
	bound := 0
	for name, n := range d.names {
		fail := func(format string, args ...any) error {
			return fmt.Errorf("name %q: %s", name, fmt.Sprintf(format, args...))
		}
		switch {
		case n.name != name || n.refs < 0:
			return fail("filed wrongly, %d references", n.refs)
		case n.refs == 0 && (len(n.waiters) > 0 || n.inst != nil || n.head != nil || n.latest != nil):
			return fail("nobody has it open, %d wait, and it is remembered", len(n.waiters))
		case n.getDone > n.getSeq || n.getting != (n.getDone < n.getSeq):
			return fail("%d gets begun, %d ended, under way: %v", n.getSeq, n.getDone, n.getting)
		case n.inst != nil && (n.head == nil || n.inst.id != n.head.Instance):
			return fail("it leads to instance %s without its head", n.inst.id.Short())
		case n.refs > 0 && (n.wantsGet() || n.wantsBind()) && !n.wakeSet:
			return fail("something is wanted and no timer is set")
		case len(n.past) > maxPastOrders:
			return fail("%d earlier stores are remembered", len(n.past))
		}
		if n.inst != nil {
			bound++
			if d.instances[n.inst.id] != n.inst {
				return fail("its instance is not in the table")
			}
			if _, ok := n.inst.names[n]; !ok {
				return fail("its instance does not know it")
			}
		}
	}
	for id, i := range d.instances {
		if i.id != id || len(i.names) == 0 {
			return fmt.Errorf("instance %s is remembered for no name", id.Short())
		}
		bound -= len(i.names)
	}
	if bound != 0 {
		return fmt.Errorf("instances and names differ by %d", bound)
	}
	return nil
}
