package storesim

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// proc is one engine in its process: it wants the name of its host, and follows names that its application opens.
type proc struct {
	w      *world
	host   int
	name   string
	inst   types.InstanceID
	dead   bool
	paused bool
	inbox  []func() // what arrived while it was stopped
	since  types.Time
	slept  types.Time // of which the clock of a mutant knows nothing
	skew   int64      // of the wall clock, in microseconds

	pub      *coherence.Publisher
	renewed  coherence.StoreRecord // by the last renewal that found it the owner
	version  types.Version         // of the present state
	lease    uint64
	attempts struct {
		failed bool // the last one
		at     types.Time
	}
	sawFenced bool

	dir     *coherence.Directory
	open    map[string]int // references
	opened  map[string]int // how often it was closed for good: what was known of it is forgotten then
	tickets map[uint64]ticket
	adopted map[string]coherence.DirAdopted
	gets    map[string]pace
	forced  map[string]bool // a get may follow at once: somebody asked
	watch   *watch
	touched bool
}

// ticket is somebody who waits.
type ticket struct {
	name    string
	since   types.Time
	patient bool
}

// pace is when a name was read, and whether the answer was a failure.
type pace struct {
	at     types.Time
	failed bool
}

const wallEpoch = 1_800_000_000_000_000 // the wall clock at the start of a run, in microseconds

func (p *proc) String() string { return fmt.Sprintf("%s@%d", p.inst.Short(), p.host) }

func (w *world) newInstance() types.InstanceID {
	var id types.InstanceID
	w.last++
	binary.LittleEndian.PutUint16(id[:2], uint16(w.rng.Uint32()))
	binary.BigEndian.PutUint16(id[2:4], uint16(w.last))
	binary.LittleEndian.PutUint64(id[8:], w.last)
	return id
}

// boot starts an engine at a free host.
func (w *world) boot(h int) *proc {
	random := rand.New(rand.NewPCG(w.cfg.Seed, w.event*16+uint64(h))).Uint64
	p := &proc{
		w: w, host: h, name: w.names[h%len(w.names)], inst: w.newInstance(), open: map[string]int{}, opened: map[string]int{}, tickets: map[uint64]ticket{},
		adopted: map[string]coherence.DirAdopted{}, gets: map[string]pace{}, forced: map[string]bool{}, touched: true,
	}
	w.stats.did(Boot)
	better := !w.store.stock
	p.pub = coherence.NewPublisher(coherence.PublisherConfig{Instance: p.inst, Name: p.name, Random: random,
		Caps: coherence.StoreCaps{Epochs: better, CompareAndSet: better, Leases: better}})
	p.dir = coherence.NewDirectory(coherence.DirectoryConfig{Random: random, SoftTTL: w.mix.softTTL, Epochs: better})
	w.hosts[h] = p
	w.byInst[p.inst] = p
	w.trace("%s boots", p)
	p.change()
	p.want(w.chance(8) && w.possible(Takeover, 1))
	w.at(w.now+w.some(100*types.Millisecond), p.watchStore)
	w.at(w.now+w.some(types.Second), p.beat)
	return p
}

// clock is the time that the publisher is told: that of CLOCK_BOOTTIME, which goes on while the machine sleeps.
func (p *proc) clock() types.Time { return p.w.now - p.slept }

func (p *proc) running() bool { return !p.dead && !p.paused }

func (p *proc) address() []string { return []string{fmt.Sprintf("10.0.0.%d:17001", p.host+1)} }

func (p *proc) tick() {
	p.touched = true
	p.doPub(p.pub.Tick(p.clock()))
	p.doDir(p.dir.Tick(p.w.now))
}

func (p *proc) nextWake() (types.Time, bool) {
	a, aok := p.pub.NextWake()
	a += p.slept
	b, bok := p.dir.NextWake()
	if aok && (!bok || a < b) {
		return a, true
	}
	return b, bok
}

// nextVersion is what coherence.Owner does: the wall clock, but never back.
func (p *proc) nextVersion(above types.Version) types.Version {
	wall := types.Version(wallEpoch + int64(p.w.now/1000) + p.skew)
	p.version = max(p.version+1, above+1, wall)
	return p.version
}

// change is a published change of the segment.
func (p *proc) change() {
	p.touched = true
	p.doPub(p.pub.Changed(p.clock(), p.nextVersion(0)))
}

func (p *proc) want(takeover bool) {
	p.w.trace("%s wants %s, takeover %v", p, p.name, takeover)
	p.touched = true
	p.doPub(p.pub.Want(p.clock(), takeover))
}

// render is the head as published.
func (p *proc) render(a coherence.StorePublish) *descriptor.Head {
	return &descriptor.Head{Name: p.name, Instance: p.inst, Epoch: a.Epoch, StoreID: a.StoreID, Version: a.Version,
		Addresses: p.address(), Data: p.address()}
}

// doPub carries out what the publisher asks for.
func (p *proc) doPub(acts []coherence.Action) {
	w := p.w
	for _, a := range acts {
		w.stats.asked(a)
		switch a := a.(type) {
		case coherence.StoreAcquire:
			p.paced("acquire")
			p.acquire(a)
		case coherence.StorePublish:
			p.paced("publish")
			p.publish(a)
		case coherence.StoreReadBack:
			p.paced("read back")
			p.ask("read back", false, func() func() {
				rec := w.store.record(p.name)
				return func() { p.attempt(false); p.doPub(p.pub.ReadBack(p.clock(), rec)) }
			}, func(code errcode.Code, _ bool) { p.attempt(true); p.doPub(p.pub.ReadBackFailed(p.clock(), code)) })
		case coherence.StoreRenew:
			p.renew(a)
		case coherence.StoreRelease:
			l := p.lease
			p.ask("release", true, func() func() {
				w.store.release(p.name, p.inst, a.Epoch, l)
				return func() { p.doPub(p.pub.Released(p.clock(), errcode.OK)) }
			}, func(code errcode.Code, _ bool) { p.doPub(p.pub.Released(p.clock(), code)) })
		case coherence.StoreRemake:
			p.remake(a, func(id string, code errcode.Code) {
				p.attempt(code != errcode.OK)
				p.doPub(p.pub.Remade(p.clock(), id, code))
			})
		case coherence.RaiseVersion:
			p.doPub(p.pub.Changed(p.clock(), p.nextVersion(a.Above)))
		case coherence.OwnershipChanged:
			w.trace("%s: %v epoch %d holder %s %v: %s", p, a.State, a.Epoch, a.Holder.Short(), a.Code, a.Cause)
			p.sawFenced = a.State == coherence.FencedOut && !a.Holder.IsZero()
		case coherence.StoreWentBack:
			w.trace("%s: store went back from %s to %s at %d", p, short(a.From), short(a.To), a.Revision)
		default:
			w.violate("model", "the publisher asked for %T", a)
		}
	}
}

func (p *proc) acquire(a coherence.StoreAcquire) {
	w, sent := p.w, p.w.now
	over := "nobody"
	if a.Takeover != nil {
		over = a.Takeover.Owner.Short()
	}
	p.ask("acquire over "+over, true, func() func() {
		epoch, l, ok := w.store.acquire(p.name, p.inst, coherence.DefaultLeaseTTL, a.Takeover)
		if !ok {
			rec := w.store.record(p.name)
			return func() { p.attempt(false); p.doPub(p.pub.AcquireFailed(p.clock(), &rec, errcode.SegmentOwned, false)) }
		}
		id := w.store.id
		w.truth.counted(p, epoch, id, sent)
		return func() {
			p.attempt(false)
			p.lease = l
			p.doPub(p.pub.Acquired(p.clock(), id, epoch))
		}
	}, func(code errcode.Code, unknown bool) {
		p.attempt(true)
		p.doPub(p.pub.AcquireFailed(p.clock(), nil, code, unknown))
	})
}

func (p *proc) publish(a coherence.StorePublish) {
	w := p.w
	w.truth.mayPublish(p, a)
	h, l := p.render(a), p.lease
	w.truth.rendered(w, h)
	p.ask(fmt.Sprintf("publish %s over %d", describe(h), a.Last), true, func() func() {
		if w.store.publish(p.name, p.inst, a.StoreID, a.Epoch, a.Last, l, h) {
			revision := w.store.record(p.name).HeadRevision
			return func() { p.attempt(false); p.doPub(p.pub.Published(p.clock(), revision)) }
		}
		rec := w.store.record(p.name)
		return func() { p.attempt(false); p.doPub(p.pub.PublishLost(p.clock(), rec)) }
	}, func(code errcode.Code, unknown bool) {
		p.attempt(true)
		p.doPub(p.pub.PublishFailed(p.clock(), code, unknown && w.cfg.mutant != unknownAsFailed))
	})
}

func (p *proc) renew(a coherence.StoreRenew) {
	w, l, sent := p.w, p.lease, p.w.now
	p.ask("renew", true, func() func() {
		w.store.renew(l)
		rec := w.store.record(p.name)
		w.truth.counted(p, rec.Epoch, rec.StoreID, sent)
		if rec.Owner == p.inst && rec.Epoch == a.Epoch {
			p.renewed = rec
		} else if w.cfg.mutant == renewBlind && p.renewed.Epoch == a.Epoch {
			p.renewed.Revision = rec.Revision
			rec = p.renewed
		}
		return func() { p.doPub(p.pub.Renewed(p.clock(), a.SentAt, rec)) }
	}, func(code errcode.Code, _ bool) { p.doPub(p.pub.RenewFailed(p.clock(), a.SentAt, code)) })
}

func (p *proc) remake(a coherence.StoreRemake, answer func(id string, code errcode.Code)) {
	if p.w.store.stock {
		p.w.violate("model", "%s wants a new ID of a store that has none", p)
	}
	p.ask("remake "+short(a.Seen), true, func() func() {
		id := p.w.store.remake(a.Seen)
		return func() { answer(id, errcode.OK) }
	}, func(code errcode.Code, _ bool) { answer("", code) })
}

// attempt notes how a request ended, for the pacing of the next.
func (p *proc) attempt(failed bool) { p.attempts.failed = failed }

// paced is L6 for an owner: at most one attempt in each back-off slot, the shortest being 50 ms with jitter.
func (p *proc) paced(what string) {
	if p.attempts.failed && p.w.now-p.attempts.at < 50*types.Millisecond {
		p.w.violate("L6", "%s asks to %s %d ms after an attempt that failed", p, what, (p.w.now-p.attempts.at)/types.Millisecond)
	}
	p.attempts.failed, p.attempts.at = false, p.w.now
}

// kill ends a process without a word.
func (w *world) kill(p *proc) {
	w.trace("%s dies", p)
	p.dead = true
	w.hosts[p.host] = nil
	if p.watch != nil {
		p.watch.cut()
	}
	w.truth.died(p, w.now)
}

func (p *proc) resume() {
	p.paused = false
	if p.w.cfg.mutant == clockSleeps {
		p.slept += p.w.now - p.since
	}
	p.w.trace("%s runs again", p)
	inbox := p.inbox
	p.inbox = nil
	if p.w.chance(2) { // timers may come first, or what was in the sockets
		p.tick()
	}
	for _, feed := range inbox {
		p.receive(feed)
	}
}

func short(id string) string { return id[:min(4, len(id))] }

func describe(h *descriptor.Head) string {
	if h == nil {
		return "no head"
	}
	return fmt.Sprintf("head %s epoch %d version %d of store %s", h.Instance.Short(), h.Epoch, h.Version, short(h.StoreID))
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
