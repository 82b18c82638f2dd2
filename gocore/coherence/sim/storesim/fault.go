package storesim

import (
	"fmt"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/types"
)

// Fault is a kind of fault.
type Fault uint8

// The kinds of fault.
const (
	RequestLost Fault = iota // before the store saw it; its sender cannot know
	RequestLate              // done after its sender was told that nothing is known
	RequestSlow
	AnswerLost
	StoreDown    // connections are refused
	StoreSilent  // nothing answers
	StoreRefuses // it answers no
	StoreCut     // one host cannot reach it
	StoreWiped
	StoreRestored // to an older snapshot
	LeaderChange  // a short outage; leases are extended in full, watches end
	LeaseEarly    // the store's clock runs ahead
	WatchCut      // compaction, a cut-off member
	WatchStalls
	WatchRepeats
	WatchGoesBack // an old event once more
	OwnerCrash
	OwnerRestart
	OwnerPause // beyond its lease
	OwnerLeaves
	Takeover
	ClockStep // of the wall clock, by up to a day
	BeatLost
	BindFails
	PeersCut
	BadHead // somebody writes what cannot be read
	numFaults
)

var faultNames = [numFaults]string{
	"request-lost", "request-late", "request-slow", "answer-lost", "store-down", "store-silent", "store-refuses", "store-cut",
	"store-wiped", "store-restored", "leader-change", "lease-early", "watch-cut", "watch-stalls", "watch-repeats", "watch-goes-back",
	"owner-crash", "owner-restart", "owner-pause", "owner-leaves", "takeover", "clock-step", "beat-lost", "bind-fails", "peers-cut", "bad-head",
}

func (f Fault) String() string { return faultNames[f] }

// ParseFault reads what String writes.
func ParseFault(s string) (Fault, error) {
	for f, name := range faultNames {
		if name == s {
			return Fault(f), nil
		}
	}
	return 0, fmt.Errorf("no fault is called %q", s)
}

// possible draws whether a fault happens where it can, once in so many times, as the seed has it.
func (w *world) possible(f Fault, oneIn int) bool {
	n := w.rng.IntN(max(oneIn, 1) * max(w.mix.rate[f], 1))
	if w.healing || w.cfg.Off[f] || w.mix.rate[f] == 0 || n != 0 {
		return false
	}
	w.stats.Faults[f]++
	if w.cfg.Trace != nil {
		w.trace("fault: %s", f)
	}
	return true
}

// mix is how a run weighs what happens: each seed draws its own.
type mix struct {
	app, fault int
	rate       [numFaults]int
	softTTL    types.Time
}

func (w *world) drawMix() mix {
	m := mix{app: 4 + w.rng.IntN(16), fault: w.rng.IntN(8), softTTL: []types.Time{types.Second, 5 * types.Second, 0}[w.rng.IntN(3)]}
	for f := range m.rate {
		if !w.chance(3) {
			m.rate[f] = 1 + w.rng.IntN(3)
		}
	}
	return m
}

// faultStep makes something go wrong, of a kind drawn evenly.
func (w *world) faultStep() bool {
	s := w.store
	h := w.rng.IntN(len(w.hosts))
	p := w.hosts[h]
	outage := types.Second/10 + w.some(types.Second)
	if w.chance(4) {
		outage = w.some(25 * types.Second)
	}
	if w.chance(40) {
		outage = w.some(100 * types.Second)
	}
	f := [...]Fault{
		StoreDown, StoreSilent, StoreRefuses, StoreCut, StoreWiped, StoreRestored, LeaderChange, LeaseEarly, WatchCut, WatchCut,
		WatchStalls, WatchGoesBack, OwnerCrash, OwnerCrash, OwnerPause, OwnerLeaves, Takeover, ClockStep, PeersCut, BadHead,
	}[w.rng.IntN(20)]
	switch f {
	case OwnerCrash:
		if p == nil {
			w.boot(h)
			return true
		}
	case OwnerPause:
		if p != nil && p.paused {
			p.resume()
			return true
		}
	case Takeover:
		if p == nil || !p.running() || p.pub.Stats().State == coherence.Owning {
			return false
		}
	case WatchCut, WatchStalls, WatchGoesBack:
		if p == nil || p.watch == nil || p.watch.over {
			return false
		}
	}
	if p == nil || !w.possible(f, 1) {
		return false
	}
	switch f {
	case StoreDown, StoreSilent:
		s.downTill, s.silent = w.now+outage, f == StoreSilent
		s.cutWatches()
	case StoreRefuses:
		s.refuse = w.now + outage
	case StoreCut:
		w.cuts[[2]int{storeHost, h}] = w.now + outage
		if p.watch != nil {
			p.watch.cut()
		}
	case StoreWiped:
		s.restore(content{id: "", revision: 1, entries: map[string]entry{}, leases: map[uint64]lease{}})
		s.revision = 1 + uint64(w.rng.IntN(3))
	case StoreRestored:
		if len(s.snapshots) > 0 {
			s.restore(s.snapshots[w.rng.IntN(len(s.snapshots))])
		}
	case LeaderChange:
		s.downTill, s.silent = w.now+w.some(2*types.Second), w.chance(2)
		for l, le := range s.leases {
			le.expires = s.downTill + le.ttl
			s.leases[l] = le
		}
		s.cutWatches()
	case LeaseEarly:
		if e, ok := s.entries[p.name]; ok && e.lease != 0 {
			s.end(e.lease)
		}
	default:
		w.peerFault(f, p, outage)
	}
	return true
}

func (w *world) peerFault(f Fault, p *proc, outage types.Time) {
	s := w.store
	switch f {
	case WatchCut:
		p.watch.cut()
	case WatchStalls:
		p.watch.stalled = w.now + w.some(6*types.Second)
	case WatchGoesBack:
		p.watch.again()
	case OwnerCrash:
		w.kill(p)
		if w.possible(OwnerRestart, 1) {
			w.boot(p.host)
		}
	case OwnerPause:
		w.trace("%s stops", p)
		p.paused, p.since = true, w.now
		w.at(w.now+w.some(30*types.Second), func() {
			if p.paused && !p.dead {
				p.resume()
			}
		})
	case OwnerLeaves:
		if p.running() {
			p.touched = true
			p.doPub(p.pub.Release(p.clock()))
			w.at(w.now+w.some(3*types.Second), func() { p.deliver(func() { p.want(false) }) })
		}
	case Takeover:
		p.want(true)
	case ClockStep:
		p.skew += w.rng.Int64N(2*86_400_000_000) - 86_400_000_000
	case PeersCut:
		o := w.rng.IntN(len(w.hosts))
		w.cuts[[2]int{min(o, p.host), max(o, p.host)}] = w.now + outage
	case BadHead:
		if e, ok := s.entries[p.name]; ok {
			s.revision++
			e.head, e.bad, e.headRev, e.headLease = nil, true, s.revision, e.lease
			s.entries[p.name] = e
			s.changed(p.name)
		}
	}
}

// again sends an old event once more.
func (wa *watch) again() {
	if len(wa.events) > 0 {
		wa.push(wa.events[wa.p.w.rng.IntN(len(wa.events))])
	}
}

// appStep is something that an application does.
func (w *world) appStep() bool {
	if w.chance(40) { // an operator makes a backup
		if len(w.store.snapshots) == 4 {
			w.store.snapshots = w.store.snapshots[1:]
		}
		w.store.snapshots = append(w.store.snapshots, w.store.clone())
	}
	p := w.hosts[w.rng.IntN(len(w.hosts))]
	if p == nil || !p.running() {
		return false
	}
	name := w.names[w.rng.IntN(len(w.names))]
	w.now += w.some(20 * types.Millisecond)
	switch n := w.rng.IntN(20); {
	case n < 5:
		for range 1 + w.rng.IntN(3) {
			p.change()
		}
	case n < 10:
		if p.open[name] < 3 {
			p.openName(name, coherence.OpenOptions{NoCache: w.chance(6), Patient: w.chance(2)})
		}
	case n < 12:
		if p.open[name] > 0 {
			p.closeName(name)
		}
	case n == 12:
		if p.open[name] > 0 {
			p.hold(name, false, func() (uint64, []coherence.Action) { return p.dir.Refresh(w.now, name) })
		}
	case n == 13:
		w.stats.did(Sync)
		tickets, acts := p.dir.Sync(w.now)
		for _, t := range tickets {
			p.tickets[t.Ticket] = ticket{name: t.Name, since: w.now}
		}
		p.doDir(acts)
	case n == 14:
		if p.sawFenced {
			p.want(false)
		}
	case n == 15:
		if a, ok := p.adopted[name]; ok && p.open[name] > 0 && w.byInst[a.Instance].dead {
			p.doDir(p.dir.Stale(w.now, name, "STALE_INSTANCE"))
		}
	default:
		if p.open[name] > 0 {
			p.lookup(name)
		}
	}
	p.touched = true
	return true
}
