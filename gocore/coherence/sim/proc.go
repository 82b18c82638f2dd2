package sim

import (
	"slices"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/types"
)

// proc is one engine in its process: the machines, carried out by the model around them, and the memory it owns.
type proc struct {
	w      *world
	host   int
	inst   types.InstanceID
	dead   bool
	paused bool

	owner *coherence.Owner
	peers []*peer
	// byHost is what a name leads to at present.
	byHost [numHosts]*peer
	sought [numHosts]bool // somebody wants to open the name

	mem     [blocks * blockLen]cell
	regions []*region // every ID ever given out; region of ID n at n-1
	block   [blocks]*region
	drains  []*drain // running
	gateQ   []types.BufferID
	localQ  []types.BufferID

	history  map[types.Version][]descriptor.Buffer // what Describe said, by version
	tokens   map[types.PathID]*conn                // handed out, and how they are used
	attached map[types.PathID]uint64               // event in which each token was made
	nextPost uint64
	pausedAt types.Time
	touched  bool
}

// peer is what one engine knows of one other instance, as its reader and as its owner.
type peer struct {
	p    *proc
	inst types.InstanceID
	host int
	view *coherence.View
	sess *session

	attach   types.Nonce // of the ATTACH under way, 0 none
	conns    []*conn     // our ends
	batches  []*batch    // not settled
	calling  bool
	replaced bool
	nextDial types.Time
	// nextAttach holds back after an answer without tokens.
	nextAttach types.Time
	again      []coherence.Request // of a WRITE that ended without remote quiet
	adopted    types.Version       // S5
	acked      map[types.BufferID]bool
}

func (w *world) boot(host int) *proc {
	p := &proc{
		w: w, host: host, inst: w.newInstance(), history: map[types.Version][]descriptor.Buffer{},
		tokens: map[types.PathID]*conn{}, attached: map[types.PathID]uint64{}, touched: true,
	}
	p.owner = coherence.NewOwner(coherence.OwnerConfig{Instance: p.inst, Random: w.rng.Uint64, MaxTokens: 8})
	w.hosts[host] = p
	w.procs = append(w.procs, p)
	for b := range blocks {
		p.register(b)
	}
	w.trace("host %d boots as %s", host, p.inst.Short())
	return p
}

func (w *world) find(inst types.InstanceID) *proc {
	for _, p := range w.procs {
		if p.inst == inst {
			return p
		}
	}
	return nil
}

// running says whether the process takes steps.
func (p *proc) running() bool { return !p.dead && !p.paused }

func (p *proc) peer(of *proc) *peer {
	for _, pe := range p.peers {
		if pe.inst == of.inst {
			return pe
		}
	}
	pe := &peer{p: p, inst: of.inst, host: of.host, acked: map[types.BufferID]bool{}}
	pe.view = p.newView(of.inst)
	p.peers = append(p.peers, pe)
	return pe
}

func (p *proc) newView(of types.InstanceID) *coherence.View {
	return coherence.NewView(coherence.ViewConfig{Instance: of, Random: p.w.rng.Uint64, SoftTTL: types.Second})
}

func (p *proc) find(inst types.InstanceID) *peer {
	for _, pe := range p.peers {
		if pe.inst == inst {
			return pe
		}
	}
	return nil
}

func (p *proc) tick() {
	p.touched = true
	p.doOwner(p.owner.Tick(p.w.now))
	for _, pe := range slices.Clone(p.peers) {
		pe.do(pe.view.Tick(p.w.now))
		for _, b := range slices.Clone(pe.batches) {
			b.do(b.t.Tick(p.w.now))
		}
	}
}

func (p *proc) nextWake() (types.Time, bool) {
	best, any := p.owner.NextWake()
	take := func(at types.Time, ok bool) {
		if ok && (!any || at < best) {
			best, any = at, true
		}
	}
	for _, pe := range p.peers {
		take(pe.view.NextWake())
		if pe.wantsSession() && pe.sess == nil {
			take(pe.nextDial, true)
		}
		if pe.nextAttach > p.w.now {
			take(pe.nextAttach, true)
		}
		for _, b := range pe.batches {
			take(b.t.NextWake())
		}
	}
	return best, any
}

// doOwner carries out what the owner asks for.
func (p *proc) doOwner(acts []coherence.Action) {
	p.touched = true
	w := p.w
	for _, a := range acts {
		switch a := a.(type) {
		case coherence.Publish:
			for _, pe := range p.peers {
				pe.send(msgInvalidate{a.Version})
			}
		case coherence.SendGrant:
			p.send(a.Peer, a)
		case coherence.SendGrantRefused:
			p.send(a.Peer, a)
		case coherence.SendDrain:
			p.send(a.Peer, a)
		case coherence.SendRetired:
			w.stats.Retired++
			p.send(a.Peer, a)
		case coherence.SendAttached:
			for _, tok := range a.Tokens {
				p.attached[tok] = w.event
			}
			p.send(a.Peer, a)
		case coherence.RefuseNew:
			p.refuseNew(a.IDs)
		case coherence.CancelLocal:
			p.cancelLocal(a.IDs)
		case coherence.CloseGates:
			p.closeGates(a.IDs)
		case coherence.KillConns:
			p.killConns(a.Tokens)
		case coherence.DrainDone:
			p.drainDone(a)
		default:
			w.violate("model", "the owner asked for %T", a)
		}
	}
}

func (p *proc) send(to types.InstanceID, m any) {
	if pe := p.find(to); pe != nil {
		pe.send(m)
	}
}

func (p *proc) killConns(tokens []types.PathID) {
	for _, tok := range tokens {
		c := p.tokens[tok]
		c.killed = true
		if c.open {
			p.w.disturb(c.from, p, "its connection was cut by the owner")
		}
		if p.w.cfg.mutant == retiredEarly {
			p.doOwner(p.owner.ConnGone(p.w.now, tok))
		}
	}
}

// do carries out what the view asks for.
func (pe *peer) do(acts []coherence.Action) {
	p := pe.p
	w := p.w
	p.touched = true
	for _, a := range acts {
		switch a := a.(type) {
		case coherence.SendDrainAck:
			pe.checkAck(a.IDs)
			pe.send(a)
		case coherence.SendRetire, coherence.SendGrantQuery:
			pe.send(a)
		case coherence.CutOperations:
			for _, b := range slices.Clone(pe.batches) {
				b.do(b.t.Cut(w.now, a.IDs, drainingCode))
			}
		case coherence.PathsRetired:
			pe.pathsRetired(a.Paths)
		case coherence.GrantResolved:
			if a.Code != 0 {
				for _, b := range slices.Clone(pe.batches) {
					b.do(b.t.Blocked(w.now, a.ID, a.Code))
				}
			}
		case coherence.Refresh:
			if pe.calling {
				w.violate("L6", "two fetches at a time")
			}
			pe.calling = true
			w.calls = append(w.calls, &call{pe: pe})
		case coherence.Drop:
			if a.All {
				for _, c := range slices.Clone(pe.conns) {
					c.close("instance was replaced")
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

// forget drops the record of a peer that nothing is owed to, and with it the view.
func (pe *peer) forget() bool {
	if pe.calling || len(pe.batches) > 0 || len(pe.conns) > 0 || !pe.view.Evictable() && !pe.replaced {
		return false
	}
	if pe.replaced {
		pe.p.peers = slices.DeleteFunc(pe.p.peers, func(o *peer) bool { return o == pe })
		return true
	}
	pe.view = pe.p.newView(pe.inst)
	pe.adopted = 0
	if pe.sess != nil {
		pe.do(pe.view.SessionUp(pe.p.w.now))
	}
	return true
}
