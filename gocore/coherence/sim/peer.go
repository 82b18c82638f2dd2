package sim

import (
	"slices"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// Pauses between attempts to reach a peer, doubled by each failure, and the pause between two fetches of its descriptor.
const (
	dialPauseMin   = 20 * types.Millisecond
	dialPauseMax   = types.Second
	attachPauseMin = 50 * types.Millisecond
	attachPauseMax = 2 * types.Second
	beatPause      = 250 * types.Millisecond
	fetchPause     = 50 * types.Millisecond // the View's 100 ms, half of which are jitter after a failure
)

// peer is what one engine knows of one other instance (or of itself), as its reader and as its owner.
type peer struct {
	p     *proc
	inst  types.InstanceID
	host  int
	view  *coherence.View
	sched *coherence.Scheduler
	sess  *session
	// shadow is a second view of the same instance, which a mutant keeps for a second name and tells of no drain.
	shadow *coherence.View

	attach   types.Nonce // of the ATTACH under way, 0 none
	conns    []*conn     // our ends
	batches  []*batch    // not settled
	calling  bool
	replaced bool

	nextBeat               types.Time
	dialPause, attachPause types.Time
	nextDial, nextAttach   types.Time
	fetched                types.Time // when the last fetch began, 0: never

	again   []coherence.Request // of a WRITE that ended without remote quiet
	adopted types.Version       // S5
	acked   map[types.BufferID]bool
	spent   int64 // L8: what was posted, in the currency of the Scheduler
}

func (p *proc) peer(of *proc) *peer {
	for _, pe := range p.peers {
		if pe.inst == of.inst {
			return pe
		}
	}
	pe := &peer{p: p, inst: of.inst, host: of.host, acked: map[types.BufferID]bool{}, sched: &coherence.Scheduler{}}
	pe.newView()
	p.peers = append(p.peers, pe)
	return pe
}

// newView begins with no knowledge and no promise.
func (pe *peer) newView() {
	w := pe.p.w
	cfg := coherence.ViewConfig{Instance: pe.inst, Random: w.rng.Uint64, SoftTTL: types.Second}
	if w.cfg.mutant == fetchUnpaced {
		cfg.BackoffMin, cfg.BackoffMax = 1, 2
	}
	pe.view = coherence.NewView(cfg)
	if w.cfg.mutant == promisePerName {
		pe.shadow = coherence.NewView(cfg)
	}
	pe.adopted, pe.fetched = 0, 0
}

func (p *proc) find(inst types.InstanceID) *peer {
	for _, pe := range p.peers {
		if pe.inst == inst {
			return pe
		}
	}
	return nil
}

// do carries out what the view asks for.
func (pe *peer) do(acts []coherence.Action) {
	p := pe.p
	w := p.w
	p.touched = true
	for _, a := range acts {
		w.asked(a)
		switch a := a.(type) {
		case coherence.SendDrainAck:
			pe.checkAck(a.IDs)
			pe.send(a)
		case coherence.SendRetire, coherence.SendGrantQuery:
			pe.send(a)
		case coherence.CutOperations:
			for _, b := range slices.Clone(pe.batches) {
				b.do(b.t.Cut(w.now, a.IDs, errcode.DrainingCode))
			}
		case coherence.PathsRetired:
			pe.pathsRetired(a.Paths)
		case coherence.GrantResolved:
			for _, b := range slices.Clone(pe.batches) {
				b.resolved(a.ID, a.Code)
			}
		case coherence.Refresh:
			if pe.calling {
				w.violate("L6", "two fetches at a time")
			}
			if pe.fetched != 0 && w.now-pe.fetched < fetchPause {
				w.violate("L6", "%s fetches from %s again after %v us", p.inst.Short(), pe.inst.Short(), int64(w.now-pe.fetched)/1000)
			}
			pe.calling, pe.fetched = true, w.now
			w.calls = append(w.calls, &call{pe: pe})
		case coherence.Drop:
			if a.All {
				for _, c := range slices.Clone(pe.conns) {
					c.closeWith(errcode.Canceled, "instance was replaced")
				}
			}
		case coherence.HoldWrites:
			if !pe.view.WritesHeld() {
				w.violate("S8", "HoldWrites while writes are not held")
			}
		case coherence.ReleaseWrites:
		default:
			w.violate("model", "a view asked for %T", a)
		}
	}
}

func (pe *peer) pathsRetired(paths []types.PathID) {
	for _, b := range slices.Clone(pe.batches) {
		b.do(b.t.PathsRetired(pe.p.w.now, paths))
	}
}

// wantsSession says whether there is anything for which this side would dial.
func (pe *peer) wantsSession() bool {
	return !pe.replaced && (len(pe.batches) > 0 || !pe.view.Evictable())
}

// gone takes the news that another instance answers where this one lived.
func (pe *peer) gone() {
	if pe.replaced {
		return
	}
	p := pe.p
	p.w.did(PeerReplaced)
	p.w.trace("%s learns that %s was replaced", p.inst.Short(), pe.inst.Short())
	pe.replaced = true
	if p.byHost[pe.host] == pe {
		p.byHost[pe.host] = nil
	}
	if pe.attach != 0 {
		pe.attach = 0
		pe.view.Attaching(-1)
	}
	pe.sess = nil
	for _, b := range pe.batches {
		b.excuse("its peer was replaced")
	}
	pe.do(pe.view.Replaced(p.w.now))
	for _, b := range slices.Clone(pe.batches) {
		b.do(b.t.PeerReplaced(p.w.now))
	}
	p.doOwner(p.owner.PeerGone(p.w.now, pe.inst))
}

// forgettable says whether nothing is owed to the peer.
func (pe *peer) forgettable() bool {
	if pe.p.w.cfg.mutant == evictAnyway && !pe.calling && len(pe.batches) == 0 && pe.attach == 0 && !pe.replaced {
		return true
	}
	return !pe.calling && len(pe.batches) == 0 && len(pe.conns) == 0 && (pe.view.Evictable() || pe.replaced)
}

// forget drops the record of a peer that nothing is owed to, and with it the view.
func (pe *peer) forget() bool {
	if !pe.forgettable() {
		return false
	}
	p := pe.p
	if pe.replaced {
		p.peers = slices.DeleteFunc(p.peers, func(o *peer) bool { return o == pe })
		return true
	}
	pe.newView()
	if pe.sess != nil {
		pe.do(pe.view.SessionUp(p.w.now))
	}
	for _, c := range pe.conns { // of a mutant
		pe.do(pe.view.PathUp(p.w.now, c.token, c.floor, nil))
	}
	return true
}
