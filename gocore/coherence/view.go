package coherence

import (
	"fmt"

	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// ViewConfig configures a View. The zero value of each field but Instance and Random has a usable meaning.
type ViewConfig struct {
	Instance types.InstanceID // whom the view is of; it never changes
	Random   func() uint64    // nonces and jitter
	// SoftTTL is the age past which a snapshot is refreshed in the background when it is used; 0 = never.
	SoftTTL types.Time
	// BackoffMin and BackoffMax bound the pause between refreshes; default 100 ms and 5 s.
	BackoffMin, BackoffMax types.Time
	// CutFraction of a drain's D is left to operations under way to end by themselves; then they are cut. Default 0.5.
	CutFraction float64
}

func (c *ViewConfig) setDefaults() {
	if c.BackoffMin <= 0 {
		c.BackoffMin = 100 * types.Millisecond
	}
	if c.BackoffMax < c.BackoffMin {
		c.BackoffMax = max(5*types.Second, c.BackoffMin)
	}
	if c.CutFraction <= 0 || c.CutFraction > 1 {
		c.CutFraction = 0.5
	}
	if c.Random == nil {
		panic("coherence: ViewConfig.Random must be set")
	}
}

// View is what a reader knows and has promised about one peer *instance*, however many names lead to it: its
// descriptor, grants, gates with the requests that count on them, floors of paths, paths to retire. It must be kept as
// long as any path to the instance lives (Evictable), because the promises live in it.
type View struct {
	cfg      ViewConfig
	replaced bool // another instance answered at its address: nothing here may be used any more
	session  bool

	desc    *descriptor.Descriptor
	grants  map[types.BufferID]*Grant
	ranges  int // of all grants
	refused map[types.BufferID]refusal
	sweepAt types.Time // when the refused are looked through next, if there are any
	waiting map[types.BufferID]*wait
	refresh refreshState

	// closed holds every ID whose gate is shut, for ever: promised, or told to be not READY. It outlives descriptors and
	// also holds IDs that were never heard of otherwise.
	closed  idSet
	counts  map[types.BufferID]uint64 // requests that entered and are not remotely quiet
	total   uint64
	closing map[types.BufferID][]*owedDrain // drains that wait for this ID's count
	owed    []*owedDrain                    // in the order in which they came
	acks    []SendDrainAck                  // due, but there was no session

	paths     map[types.PathID]types.Version // up, with their floors
	minFloor  types.Version                  // over paths
	maxFloor  types.Version
	retires   []*retire
	attaching int

	broken string // first violated invariant
	stats  ViewStats
}

// refusal is the negative cache of grant queries.
type refusal struct {
	code  errcode.Code
	until types.Time
}

// NewView makes the view of one instance that nothing is known of yet.
func NewView(cfg ViewConfig) *View {
	cfg.setDefaults()
	return &View{
		cfg:     cfg,
		grants:  map[types.BufferID]*Grant{},
		refused: map[types.BufferID]refusal{},
		waiting: map[types.BufferID]*wait{},
		counts:  map[types.BufferID]uint64{},
		closing: map[types.BufferID][]*owedDrain{},
		paths:   map[types.PathID]types.Version{},
	}
}

// Instance is whom the view is of.
func (v *View) Instance() types.InstanceID { return v.cfg.Instance }

// Descriptor returns the adopted snapshot, immutable, or nil before the first.
func (v *View) Descriptor() *descriptor.Descriptor { return v.desc }

// Evictable reports whether the view may be forgotten: with a path (or a token for one) alive its promises must be
// kept, and so must whatever still counts or is owed (model: drain.evict).
func (v *View) Evictable() bool {
	return len(v.paths) == 0 && v.attaching == 0 && v.total == 0 && len(v.retires) == 0 &&
		len(v.owed) == 0 && len(v.acks) == 0
}

// Attaching adds n (also negative) to the count of handshakes whose tokens have not all become paths or been given to
// TokensUnused: while there is one, the owner takes us for a holder and the view must not be evicted
// (model: drain.ask_path).
func (v *View) Attaching(n int) {
	v.attaching += n
	if v.attaching < 0 {
		v.breach("more handshakes ended than were begun")
		v.attaching = 0
	}
}

// Tick does what is due: cutting operations for a drain, a refresh after its back-off.
func (v *View) Tick(now types.Time) []Action {
	var acts []Action
	for _, d := range v.owed {
		acts = v.cutIfDue(now, d, acts)
	}
	if len(v.refused) > 0 && now >= v.sweepAt {
		v.sweepAt = now + negativeTTL
		for id, r := range v.refused {
			if now >= r.until {
				delete(v.refused, id)
			}
		}
	}
	return v.refreshIfDue(now, acts)
}

// NextWake is when Tick is needed next.
func (v *View) NextWake() (types.Time, bool) {
	var w wake
	for _, d := range v.owed {
		if !d.cut {
			w.at(d.cutAt)
		}
	}
	if len(v.refused) > 0 {
		w.at(v.sweepAt)
	}
	if !v.refresh.flying && v.refreshWanted() {
		w.at(v.refresh.notBefore)
	}
	return w.get()
}

// ViewStats is a snapshot for status and metrics.
type ViewStats struct {
	Version        types.Version // of the adopted descriptor
	Needed         types.Version // newest version or floor heard of
	Floor          types.Version // largest among the paths
	Session        bool
	Replaced       bool
	Paths          int
	Retiring       int // paths whose RETIRED is awaited
	WritesHeld     bool
	Grants         int
	Waiting        int    // IDs that operations wait to hear about
	Closed         uint64 // IDs whose gate is shut
	ClosedSpans    int
	Entered        uint64 // requests that count at present
	DrainsOwed     int
	DrainsAcked    uint64
	DrainsCut      uint64
	RetiresSent    uint64
	Refreshes      uint64
	RefreshesFail  uint64
	Adopted        uint64
	OlderIgnored   uint64
	InvalidIgnored uint64
}

// Stats returns a snapshot.
func (v *View) Stats() ViewStats {
	s := v.stats
	if v.desc != nil {
		s.Version = v.desc.Version
	}
	s.Needed, s.Floor, s.Session, s.Replaced = v.refresh.need, v.maxFloor, v.session, v.replaced
	s.Paths, s.WritesHeld, s.Grants, s.Waiting = len(v.paths), v.WritesHeld(), len(v.grants), len(v.waiting)
	for _, r := range v.retires {
		s.Retiring += len(r.paths)
	}
	s.Closed, s.ClosedSpans, s.Entered, s.DrainsOwed = v.closed.Len(), v.closed.Intervals(), v.total, len(v.owed)
	return s
}

func (v *View) breach(what string) {
	if v.broken == "" {
		v.broken = what
	}
}

// CheckInvariants recounts what the view keeps incrementally.
func (v *View) CheckInvariants() error {
	if v.broken != "" {
		return fmt.Errorf("view of %s: %s", v.cfg.Instance.Short(), v.broken)
	}
	fail := func(format string, args ...any) error {
		return fmt.Errorf("view of %s: %s", v.cfg.Instance.Short(), fmt.Sprintf(format, args...))
	}
	var sum uint64
	for id, n := range v.counts {
		if n == 0 {
			return fail("ID %d is kept with the count 0", id)
		}
		sum += n
	}
	if sum != v.total {
		return fail("counts sum to %d, total says %d", sum, v.total)
	}
	for i, d := range v.owed {
		n := 0
		for _, id := range d.ids {
			if !v.closed.Has(id) {
				return fail("drain %d is owed but the gate of ID %d is open", d.nonce, id)
			}
			if v.counts[id] > 0 {
				n++
			}
		}
		if n == 0 || n != d.pending {
			return fail("owed drain %d (index %d) waits for %d IDs, %d count", d.nonce, i, d.pending, n)
		}
	}
	for id := range v.closing {
		if v.counts[id] == 0 {
			return fail("ID %d is waited for with the count 0", id)
		}
	}
	for id := range v.grants {
		if v.closed.Has(id) {
			return fail("grant %d is kept although its gate is shut", id)
		}
	}
	for _, r := range v.retires {
		for _, p := range r.paths {
			if _, up := v.paths[p]; up {
				return fail("path %d is up and being retired", p)
			}
		}
	}
	return nil
}

// wake collects the earliest of several times.
type wake struct {
	t   types.Time
	set bool
}

func (w *wake) at(t types.Time) {
	if !w.set || t < w.t {
		w.t, w.set = t, true
	}
}

func (w *wake) get() (types.Time, bool) { return w.t, w.set }
