package coherence

import (
	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// Bounds of what a Directory remembers without need.
const (
	maxNegative   = 16384 // names in all, above which a name that does not exist is forgotten at once
	maxPastOrders = 16    // stores under which a name was adopted before
)

// DirectoryConfig configures a Directory. Only Random is required.
type DirectoryConfig struct {
	Random func() uint64 // jitter
	// SoftTTL is the age past which a name is refreshed in the background when it is used; 0 = never. Past the hard TTL,
	// max(30 s, SoftTTL), nothing new is bound to it; off when SoftTTL is 0.
	SoftTTL types.Time
	// NoCache makes every open read the store (MC_DISABLE_METACACHE).
	NoCache bool
	// Epochs: the store has revisions and a store ID, so going back can be noticed and its ID re-made.
	Epochs bool
	// RetryMin and RetryMax bound the pause after a failure, Negative is how long "not there" is believed. Defaults
	// 100 ms, 5 s and 1 s.
	RetryMin, RetryMax, Negative types.Time
}

func (c *DirectoryConfig) setDefaults() {
	if c.RetryMin <= 0 {
		c.RetryMin = 100 * types.Millisecond
	}
	if c.RetryMax < c.RetryMin {
		c.RetryMax = max(5*types.Second, c.RetryMin)
	}
	if c.Negative <= 0 {
		c.Negative = types.Second
	}
	if c.Random == nil {
		panic("coherence: DirectoryConfig.Random must be set")
	}
}

// Directory decides for the names that one reader has open in one store: which instance a name leads to, how fresh that
// is, when to read the record, whom to reach, what to tell those who wait. It is a reader of tests/model/owner.pml.
//
// A head of another instance is adopted only when that instance answered (DirBind, Bound); one of the instance that the
// name leads to already, when it is newer. Invalid or older ones replace nothing. Until then, and while the store is
// away, the name leads to where it led.
//
// Whoever waits has a ticket; it is ended by one DirAnswer, possibly among the actions of the very call that gave it, or
// by Abandon. Its callers serialise. Heads that it was fed must not change any more.
type Directory struct {
	cfg       DirectoryConfig
	names     map[string]*dirName
	instances map[types.InstanceID]*dirInstance
	tickets   uint64

	store    storeMemory
	watching bool
	watchAt  types.Time // last sign of life of the watch
	watchRev uint64     // up to which it is complete
	listings uint64

	remake struct {
		wanted bool
		flying bool
		seen   string
		at     types.Time
		back   backoff
	}
	timers dirTimers
	stats  DirectoryStats
}

// dirInstance is an instance that names lead to.
type dirInstance struct {
	id     types.InstanceID
	names  map[*dirName]struct{}
	beaten bool
	beatAt types.Time // last heartbeat
}

// NewDirectory makes one that knows nothing.
func NewDirectory(cfg DirectoryConfig) *Directory {
	cfg.setDefaults()
	return &Directory{cfg: cfg, names: map[string]*dirName{}, instances: map[types.InstanceID]*dirInstance{}}
}

// OpenOptions say how a name is opened.
type OpenOptions struct {
	// NoCache: the store is read, by a request that begins now.
	NoCache bool
	// Patient: wait through "not there", "unavailable" and "unreachable" until the name leads somewhere; the caller ends
	// it by Abandon.
	Patient bool
}

// Open takes a reference on a name, to be given back by Close, and a ticket.
func (d *Directory) Open(now types.Time, name string, opts OpenOptions) (uint64, []Action) {
	n := d.names[name]
	if n == nil {
		n = &dirName{name: name}
		d.names[name] = n
	}
	n.refs++
	d.stats.Opens++
	w := waiter{ticket: d.ticket(), patient: opts.Patient, cached: !opts.NoCache && !d.cfg.NoCache}
	if !w.cached || !n.getting {
		w.need = n.getSeq + 1
	} else {
		w.need = n.getSeq
	}
	if w.cached {
		if code, detail, known := d.cachedAnswer(now, n); known && (code == errcode.OK || !w.patient) {
			if code == errcode.OK {
				d.used(now, n)
			}
			return w.ticket, d.step(now, n, []Action{DirAnswer{Name: name, Ticket: w.ticket, Code: code, Detail: detail}})
		}
	}
	n.waiters = append(n.waiters, w)
	return w.ticket, d.step(now, n, nil)
}

// OpenFresh takes a reference if the name is known to be fresh, and says where it leads. It allocates nothing.
func (d *Directory) OpenFresh(now types.Time, name string) (types.InstanceID, bool) {
	n := d.names[name]
	if n == nil || n.refs == 0 || d.cfg.NoCache || !d.fresh(now, n) {
		return types.InstanceID{}, false
	}
	n.refs++
	d.stats.Opens++
	return n.inst.id, true
}

// Fresh says where a name leads if that was proven within the soft TTL. It allocates nothing and changes nothing.
func (d *Directory) Fresh(now types.Time, name string) (types.InstanceID, bool) {
	n := d.names[name]
	if n == nil || !d.fresh(now, n) {
		return types.InstanceID{}, false
	}
	return n.inst.id, true
}

// Lookup says where an open name leads, for binding a new operation. Past the soft TTL it starts the background refresh,
// past the hard one it is METADATA_UNAVAILABLE. The data path may call it each time: it allocates only to refresh.
func (d *Directory) Lookup(now types.Time, name string) (types.InstanceID, errcode.Code, []Action) {
	n := d.names[name]
	switch {
	case n == nil:
		return types.InstanceID{}, errcode.SegmentNotFound, nil
	case n.inst == nil:
		code := n.result
		if code == errcode.OK {
			code = errcode.PeerUnreachable
		}
		d.used(now, n)
		return types.InstanceID{}, code, d.step(now, n, nil)
	case d.fresh(now, n):
		return n.inst.id, errcode.OK, nil
	}
	d.used(now, n)
	acts := d.step(now, n, nil)
	if d.expired(now, n) {
		return types.InstanceID{}, errcode.MetadataUnavailable, acts
	}
	return n.inst.id, errcode.OK, acts
}

// Close gives a reference back.
func (d *Directory) Close(now types.Time, name string) []Action {
	n := d.names[name]
	if n == nil || n.refs == 0 {
		return nil
	}
	n.refs--
	if n.refs == 0 {
		d.forget(n)
	}
	return d.step(now, n, nil)
}

// Abandon ends a wait without an answer.
func (d *Directory) Abandon(now types.Time, name string, ticket uint64) []Action {
	n := d.names[name]
	if n == nil {
		return nil
	}
	for i := range n.waiters {
		if n.waiters[i].ticket == ticket {
			n.waiters = append(n.waiters[:i], n.waiters[i+1:]...)
			break
		}
	}
	return d.step(now, n, nil)
}

// Refresh reads the record of an open name by a request that begins now (force_refresh, no_cache); its answer never
// falls back to what was known before.
func (d *Directory) Refresh(now types.Time, name string) (uint64, []Action) {
	ticket := d.ticket()
	n := d.names[name]
	if n == nil || n.refs == 0 {
		return ticket, []Action{DirAnswer{Name: name, Ticket: ticket, Code: errcode.SegmentNotFound, Detail: "the name is not open"}}
	}
	n.waiters = append(n.waiters, waiter{ticket: ticket, need: n.getSeq + 1})
	return ticket, d.step(now, n, nil)
}

// NameTicket is one of Sync's tickets.
type NameTicket struct {
	Name   string
	Ticket uint64
}

// Sync refreshes all open names, by the same road as any refresh.
func (d *Directory) Sync(now types.Time) ([]NameTicket, []Action) {
	var tickets []NameTicket
	var acts []Action
	for _, name := range d.openNames() {
		ticket, a := d.Refresh(now, name)
		tickets = append(tickets, NameTicket{name, ticket})
		acts = append(acts, a...)
	}
	return tickets, acts
}

func (d *Directory) ticket() uint64 {
	d.tickets++
	return d.tickets
}

// OpenNames lists the names that somebody has open, in order.
func (d *Directory) OpenNames() []string { return d.openNames() }

// IsOpen reports whether somebody has the name open.
func (d *Directory) IsOpen(name string) bool {
	n := d.names[name]
	return n != nil && n.refs > 0
}

// Head is the adopted head of a name, or nil.
func (d *Directory) Head(name string) *descriptor.Head {
	if n := d.names[name]; n != nil {
		return n.head
	}
	return nil
}
