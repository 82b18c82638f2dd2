package storesim

import (
	"slices"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/types"
)

// watch is one process's watch: events arrive in order, at any time, now and then twice, until it is cut.
type watch struct {
	p       *proc
	last    types.Time // when the last event arrives
	stalled types.Time
	over    bool
	events  []watchEvent
}

// watchEvent is a listing, a change or (neither) a progress notice.
type watchEvent struct {
	listing  bool
	id       string
	revision uint64
	records  []coherence.StoreRecord
	changed  *coherence.StoreRecord
}

const progressEvery = 700 * types.Millisecond

// watchStore begins a watch, or tries again later.
func (p *proc) watchStore() {
	w, s := p.w, p.w.store
	if p.dead {
		return
	}
	if !s.up() || w.cut(p.host, storeHost) || p.paused {
		w.at(w.now+100*types.Millisecond+w.some(400*types.Millisecond), p.watchStore)
		return
	}
	wa := &watch{p: p}
	p.watch = wa
	s.watches = append(s.watches, wa)
	wa.push(s.list())
	w.at(w.now+w.some(progressEvery), wa.progress)
}

func (s *store) list() watchEvent {
	list := watchEvent{listing: true, id: s.id, revision: s.revision}
	for _, name := range s.w.names {
		if _, ok := s.entries[name]; ok {
			list.records = append(list.records, s.record(name))
		}
	}
	if s.stock {
		list.revision = 0
	}
	return list
}

func (wa *watch) progress() {
	if wa.over {
		return
	}
	w := wa.p.w
	switch {
	case !w.store.up():
	case w.store.stock: // a poll
		wa.push(w.store.list())
	default:
		wa.push(watchEvent{revision: w.store.revision})
	}
	w.at(w.now+progressEvery, wa.progress)
}

// push sends an event after those before it.
func (wa *watch) push(ev watchEvent) {
	w := wa.p.w
	if wa.over {
		return
	}
	wa.last = max(wa.last, w.now+w.latency(), wa.stalled)
	w.at(wa.last, func() { wa.arrive(ev) })
	if ev.changed != nil && len(wa.events) < 16 {
		wa.events = append(wa.events, ev)
	}
	if ev.changed != nil && w.possible(WatchRepeats, 6) {
		w.at(wa.last+w.some(types.Second), func() { wa.arrive(ev) })
	}
}

func (wa *watch) arrive(ev watchEvent) {
	p := wa.p
	if wa.over || p.dead {
		return
	}
	p.receive(func() {
		if p.watch != wa {
			return
		}
		now := p.w.now
		switch {
		case ev.listing:
			p.w.trace("%s sees a listing of %s at %d", p, short(ev.id), ev.revision)
			var open []coherence.StoreRecord
			for _, r := range ev.records {
				delete(p.gets, r.Name)
				if r.Name == p.name {
					p.doPub(p.pub.RecordSeen(p.clock(), r))
				}
				if p.dir.IsOpen(r.Name) {
					open = append(open, r)
				}
			}
			p.doDir(p.dir.Listing(now, ev.id, ev.revision, open))
			p.doPub(p.pub.StoreSeen(p.clock(), ev.id, ev.revision))
		case ev.changed != nil:
			p.w.trace("%s sees %s at %d: owner %s epoch %d, %s", p, ev.changed.Name, ev.changed.Revision, ev.changed.Owner.Short(),
				ev.changed.Epoch, describe(ev.changed.Head))
			if ev.changed.Name == p.name {
				p.doPub(p.pub.RecordSeen(p.clock(), *ev.changed))
			}
			delete(p.gets, ev.changed.Name) // who hears of a name need not wait to ask for it
			p.doDir(p.dir.Changed(now, *ev.changed))
		default:
			p.doDir(p.dir.Progress(now, ev.revision))
		}
	})
}

// cutWatch breaks a watch: what is under way is lost.
func (wa *watch) cut() {
	if wa.over {
		return
	}
	wa.over = true
	p := wa.p
	w := p.w
	w.store.watches = slices.DeleteFunc(w.store.watches, func(o *watch) bool { return o == wa })
	if p.dead {
		return
	}
	w.at(w.now+w.latency()+w.some(200*types.Millisecond), func() {
		if p.dead || p.watch != wa {
			return
		}
		p.receive(func() {
			p.watch = nil
			p.doDir(p.dir.WatchDown(w.now))
		})
		w.at(w.now+50*types.Millisecond+w.some(50*types.Millisecond), p.watchStore)
	})
}

func (s *store) cutWatches() {
	for _, wa := range slices.Clone(s.watches) {
		wa.cut()
	}
}
