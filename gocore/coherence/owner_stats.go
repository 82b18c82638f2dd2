package coherence

import (
	"fmt"

	"mooncake_te/gocore/types"
)

// OwnerStats is a snapshot for status and metrics.
type OwnerStats struct {
	// Present.
	Registrations, Grants       int
	Ready, Draining, Quarantine int
	Peers, Sessions, Holders    int
	Tokens, TokensUnused        int
	DrainsRunning               int
	// RevokedIntervals is the memory that revoked grants cost.
	RevokedIntervals int
	// Totals since the start.
	RegistrationsTotal, GrantsTotal uint64
	DrainsTotal, DrainsDone         uint64
	Fences                          uint64 // drains that closed gates
	Timeouts                        uint64 // peers that did not acknowledge within D
}

// ownerCounts are the totals, and the quarantined ids.
type ownerCounts struct {
	registrations, grants, drains, drained, fences, timeouts uint64
	quarantined                                              map[types.BufferID]struct{}
}

func (c *ownerCounts) quarantine(id types.BufferID) {
	if c.quarantined == nil {
		c.quarantined = map[types.BufferID]struct{}{}
	}
	c.quarantined[id] = struct{}{}
}

// Stats counts.
func (o *Owner) Stats() OwnerStats {
	s := OwnerStats{
		Peers: len(o.peers), Tokens: len(o.tokens), DrainsRunning: len(o.drains), RevokedIntervals: o.revoked.Intervals(),
		RegistrationsTotal: o.counts.registrations, GrantsTotal: o.counts.grants,
		DrainsTotal: o.counts.drains, DrainsDone: o.counts.drained,
		Fences: o.counts.fences, Timeouts: o.counts.timeouts,
	}
	for _, e := range o.ids {
		if e.reg == nil {
			s.Registrations++
		} else {
			s.Grants++
		}
		switch e.state {
		case types.Ready:
			s.Ready++
		case types.Draining:
			s.Draining++
		default:
			s.Quarantine++
		}
	}
	for _, h := range o.peers {
		s.TokensUnused += h.unused
		if h.alive {
			s.Sessions++
		}
		if h.holds() {
			s.Holders++
		}
	}
	return s
}

// CheckInvariants looks for contradictions inside the owner. It costs time in proportion to all that it holds: for
// builds with -tags invariants and for the simulator.
func (o *Owner) CheckInvariants() error {
	if o.published > o.version {
		return fmt.Errorf("published version %d is ahead of the counter %d", o.published, o.version)
	}
	if o.floor > o.version {
		return fmt.Errorf("floor %d is ahead of the counter %d", o.floor, o.version)
	}
	for p, f := range o.peerFloors {
		if f > o.version {
			return fmt.Errorf("floor %d of peer %s is ahead of the counter %d", f, p.Short(), o.version)
		}
	}
	for id, e := range o.ids {
		if err := o.checkID(id, e); err != nil {
			return err
		}
	}
	for id, d := range o.drains {
		if err := o.checkDrain(id, d); err != nil {
			return err
		}
	}
	for p, h := range o.peers {
		if err := o.checkHolder(p, h); err != nil {
			return err
		}
	}
	for id, t := range o.tokens {
		if t.id != id || t.holder.tokens[id] != t || o.peers[t.holder.peer] != t.holder {
			return fmt.Errorf("token %#x is not in its holder's table", uint64(id))
		}
	}
	return nil
}

func (o *Owner) checkID(id types.BufferID, e *ownedID) error {
	switch {
	case id == 0 || id >= o.nextID || e.id != id:
		return fmt.Errorf("buffer %d was never given out (next is %d)", id, o.nextID)
	case o.revoked.Has(id):
		return fmt.Errorf("buffer %d is live and remembered as revoked", id)
	case e.state != types.Ready && e.state != types.Draining && e.state != types.Quarantined:
		return fmt.Errorf("buffer %d is in the table in state %v", id, e.state)
	case e.state != types.Quarantined && (e.state == types.Draining) != (e.drain != nil && o.drains[e.drain.id] == e.drain):
		return fmt.Errorf("buffer %d is %v but its drain does not agree", id, e.state)
	case e.state == types.Ready && (e.fenced || e.settled):
		return fmt.Errorf("buffer %d is READY behind a fence", id)
	case e.settled && !e.fenced:
		return fmt.Errorf("buffer %d is quiet without a fence", id)
	case e.reg == nil && e.length == 0:
		return fmt.Errorf("buffer %d has no bytes", id)
	}
	if e.reg == nil {
		return nil
	}
	if o.ids[e.reg.id] != e.reg || e.reg.grants[id] != e {
		return fmt.Errorf("grant %d outlived its registration %d", id, e.reg.id)
	}
	if e.state == types.Ready && e.reg.state != types.Ready {
		return fmt.Errorf("grant %d is READY on a registration that is %v", id, e.reg.state)
	}
	for i, r := range e.ranges {
		if !(types.Range{Len: e.reg.length}).Contains(r.Off, r.Len) {
			return fmt.Errorf("grant %d: range %v lies outside its registration", id, r)
		}
		if i > 0 && r.Off <= e.ranges[i-1].Off+e.ranges[i-1].Len {
			return fmt.Errorf("grant %d: ranges %v and %v are not normalized", id, e.ranges[i-1], r)
		}
	}
	return nil
}

func (o *Owner) checkDrain(id DrainID, d *drainRun) error {
	if d.id != id || o.byNonce[d.nonce] != d {
		return fmt.Errorf("drain %d is filed wrongly", id)
	}
	gates, locals := 0, 0
	for _, e := range d.ids {
		if e.drain != d {
			return fmt.Errorf("drain %d holds buffer %d of another drain", id, e.id)
		}
		if !e.settled {
			gates++
		}
		if e.reg == nil && !e.localQuiet {
			locals++
		}
	}
	for _, e := range d.foreign {
		if !e.settled {
			gates++
		}
	}
	if gates != d.gates || locals != d.locals {
		return fmt.Errorf("drain %d counts %d gates and %d local users, there are %d and %d", id, d.gates, d.locals, gates, locals)
	}
	if d.fencing && gates == 0 && locals == 0 {
		return fmt.Errorf("drain %d has nothing left to wait for and has not ended", id)
	}
	if !d.fencing && d.grace == 0 && len(d.wait) == 0 && locals == 0 {
		return fmt.Errorf("drain %d has nobody left to wait for and has not fenced", id)
	}
	for p := range d.wait {
		if d.fencing {
			return fmt.Errorf("drain %d waits for peer %s after its fence", id, p.Short())
		}
		if h := o.peers[p]; h == nil || !h.holds() || h.waiting[id] != d {
			return fmt.Errorf("drain %d waits for peer %s, which is no holder", id, p.Short())
		}
	}
	return nil
}

func (o *Owner) checkHolder(p types.InstanceID, h *holder) error {
	if h.peer != p || !h.alive && !h.holds() {
		return fmt.Errorf("peer %s is remembered for nothing", p.Short())
	}
	unused := 0
	for id, t := range h.tokens {
		if o.tokens[id] != t {
			return fmt.Errorf("token %#x of peer %s is not in the table", uint64(id), p.Short())
		}
		if !t.used {
			unused++
		}
	}
	if unused != h.unused || unused > o.cfg.MaxTokens {
		return fmt.Errorf("peer %s has %d unused tokens, counted %d, at most %d", p.Short(), unused, h.unused, o.cfg.MaxTokens)
	}
	for _, r := range h.retires {
		if len(r.waiting) == 0 {
			return fmt.Errorf("RETIRE of peer %s is done and not answered", p.Short())
		}
		for id := range r.waiting {
			if t := h.tokens[id]; t == nil || !t.killed {
				return fmt.Errorf("RETIRE of peer %s waits for token %#x, which nobody kills", p.Short(), uint64(id))
			}
		}
	}
	for id, d := range h.waiting {
		if o.drains[id] != d || d.wait[p] == nil {
			return fmt.Errorf("peer %s is waited for by drain %d, which does not know it", p.Short(), id)
		}
	}
	return nil
}
