package storesim

import (
	"encoding/hex"
	"maps"
	"slices"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/types"
)

// store is what etcd, or our metadata server, does with the keys: one revision counter, compare-and-set, leases.
type store struct {
	w *world
	content
	downTill  types.Time
	silent    bool // down: no answer at all, instead of a refused connection
	refuse    types.Time
	stock     bool // offers PUT, GET and DELETE, and nothing else
	lastLease uint64
	lastID    uint64
	snapshots []content
	watches   []*watch
}

// content is what a snapshot holds.
type content struct {
	id       string
	revision uint64
	entries  map[string]entry
	leases   map[uint64]lease
}

// entry is what lies under one name.
type entry struct {
	owner              types.InstanceID
	ownerID            string
	epoch, lease       uint64
	head               *descriptor.Head
	bad                bool // the head cannot be read
	headRev, headLease uint64
}

type lease struct{ ttl, expires types.Time }

func (c content) clone() content {
	c.entries, c.leases = maps.Clone(c.entries), maps.Clone(c.leases)
	return c
}

func newStore(w *world) *store {
	s := &store{w: w}
	s.content = content{revision: 1, entries: map[string]entry{}, leases: map[uint64]lease{}}
	s.id = s.newID()
	return s
}

func (s *store) newID() string {
	s.lastID++
	var b [16]byte
	b[0], b[1], b[15] = byte(s.lastID), byte(s.lastID>>8), 0x5d
	return hex.EncodeToString(b[:])
}

func (s *store) up() bool { return s.w.now >= s.downTill }

func (s *store) record(name string) coherence.StoreRecord {
	e := s.entries[name]
	if s.stock {
		return coherence.StoreRecord{Name: name, Head: e.head, HeadRevision: e.headRev * 0x9e3779b97f4a7c15, HeadBad: e.bad, Legacy: true}
	}
	r := coherence.StoreRecord{Name: name, StoreID: s.id, Revision: s.revision, Owner: e.owner, OwnerStoreID: e.ownerID,
		Epoch: e.epoch, Head: e.head, HeadRevision: e.headRev, HeadBad: e.bad}
	return r
}

// changed tells the watches.
func (s *store) changed(name string) {
	if s.stock {
		return
	}
	r := s.record(name)
	for _, wa := range s.watches {
		wa.push(watchEvent{changed: &r})
	}
}

// acquire gives the name to inst under a lease of its own, if nobody has it or if it is still as in over.
func (s *store) acquire(name string, inst types.InstanceID, ttl types.Time, over *coherence.StoreRecord) (uint64, uint64, bool) {
	e := s.entries[name]
	switch {
	case s.stock:
		return 0, 0, true
	case e.owner.IsZero() && over == nil:
	case over != nil && !e.owner.IsZero() && e.owner == over.Owner && e.epoch == over.Epoch && e.ownerID == over.OwnerStoreID &&
		e.headRev == over.HeadRevision && s.id == over.StoreID:
	default:
		return 0, 0, false
	}
	s.revision++
	s.lastLease++
	l := s.lastLease
	s.leases[l] = lease{ttl, s.w.now + ttl}
	old := e.lease
	s.entries[name] = entry{owner: inst, ownerID: s.id, epoch: s.revision, lease: l}
	s.w.truth.acquired(s.w, s.id, name, inst, s.revision)
	s.changed(name)
	if old != 0 {
		s.end(old)
	}
	return s.revision, l, true
}

// publish replaces the head if all of the compare holds.
func (s *store) publish(name string, inst types.InstanceID, id string, epoch, last, l uint64, h *descriptor.Head) bool {
	e := s.entries[name]
	if s.stock {
		s.revision++
		s.entries[name] = entry{head: h, headRev: s.revision}
		s.w.stats.did(Landed)
		s.w.truth.stores[headKey{inst, h.Version}] = true
		s.w.trace("the store takes %s", describe(h))
		return true
	}
	m := s.w.cfg.mutant
	if s.id != id || e.headRev != last && m != noHeadCompare ||
		(e.owner != inst || e.ownerID != id || e.epoch != epoch) && m != noOwnerCompare {
		return false
	}
	if _, ok := s.leases[l]; !ok && m != noOwnerCompare {
		return false
	}
	s.revision++
	e.head, e.headRev, e.headLease, e.bad = h, s.revision, l, false
	s.entries[name] = e
	s.w.truth.stored(s.w, s.id, name, inst, h, e)
	s.changed(name)
	return true
}

func (s *store) renew(l uint64) {
	if le, ok := s.leases[l]; ok {
		le.expires = s.w.now + le.ttl
		s.leases[l] = le
	}
}

func (s *store) release(name string, inst types.InstanceID, epoch, l uint64) {
	e := s.entries[name]
	if e.owner == inst && e.epoch == epoch || s.stock && e.head != nil && e.head.Instance == inst {
		s.revision++
		delete(s.entries, name)
		s.changed(name)
	}
	s.end(l)
}

// end revokes a lease, with what hangs on it.
func (s *store) end(l uint64) {
	if _, ok := s.leases[l]; !ok {
		return
	}
	delete(s.leases, l)
	for _, name := range s.w.names {
		e, ok := s.entries[name]
		if !ok || e.lease != l && e.headLease != l {
			continue
		}
		s.revision++
		if e.lease == l {
			e.owner, e.ownerID, e.epoch, e.lease = types.InstanceID{}, "", 0, 0
		}
		if e.headLease == l {
			e.head, e.headRev, e.headLease, e.bad = nil, 0, 0, false
		}
		s.entries[name] = e
		if e.owner.IsZero() && e.headRev == 0 {
			delete(s.entries, name)
		}
		s.changed(name)
	}
}

func (s *store) remake(seen string) string {
	if s.id == seen && (seen == "" || s.w.cfg.mutant != neverRemade) {
		s.id = s.newID()
		s.revision++
	}
	return s.id
}

// expire ends the leases whose time is over.
func (s *store) expire() {
	if !s.up() {
		return
	}
	for _, l := range slices.Sorted(maps.Keys(s.leases)) {
		if s.w.now >= s.leases[l].expires {
			s.w.stats.did(LeaseEnded)
			s.w.trace("the store ends lease %d", l)
			s.end(l)
		}
	}
}

// restore brings back content, with every lease in full.
func (s *store) restore(c content) {
	s.content = c.clone()
	for l, le := range s.leases {
		le.expires = s.w.now + le.ttl
		s.leases[l] = le
	}
	s.cutWatches()
	s.w.truth.wentBack()
}
