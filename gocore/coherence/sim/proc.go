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
	byHost   []*peer
	sought   []bool // somebody wants to open the name
	nextOpen types.Time

	clocked bool  // versions follow the wall clock
	skew    int64 // of that clock, in microseconds

	mem     []cell
	base    [blocks]int // where each block lies in it at present
	regions []*region   // every ID ever given out; region of ID n at n-1
	block   [blocks]*region
	drains  []*drain // running
	gateQ   []types.BufferID
	localQ  []types.BufferID

	history  map[types.Version][]descriptor.Buffer // what Describe said, by version
	versions []types.Version                       // of it, in order
	tokens   map[types.PathID]*conn                // handed out, and how they are used
	attached map[types.PathID]uint64               // event in which each token was made
	nextPost uint64
	pausedAt types.Time
	touched  bool
}

// epoch is the wall clock at the start of a run, in microseconds.
const epoch = 1_800_000_000_000_000

func (p *proc) wall() uint64 { return uint64(epoch + int64(p.w.now/1000) + p.skew) }

// boot starts an engine at a free host, nil where nobody is to be.
func (w *world) boot(host int) *proc {
	if w.cfg.Absent[host] {
		return nil
	}
	w.did(Boot)
	p := &proc{
		w: w, host: host, inst: w.newInstance(), history: map[types.Version][]descriptor.Buffer{},
		tokens: map[types.PathID]*conn{}, attached: map[types.PathID]uint64{}, touched: true,
		byHost: make([]*peer, len(w.hosts)), sought: make([]bool, len(w.hosts)), mem: make([]cell, blocks*blockLen),
		clocked: w.mix.clocks,
	}
	cfg := coherence.OwnerConfig{Instance: p.inst, Random: w.rng.Uint64, MaxTokens: 8}
	if p.clocked {
		cfg.Clock = p.wall
	}
	p.owner = coherence.NewOwner(cfg)
	w.hosts[host] = p
	w.procs = append(w.procs, p)
	w.byInst[p.inst] = p
	for b := range blocks {
		p.base[b] = b * blockLen
		p.register(b)
	}
	w.trace("host %d boots as %s", host, p.inst.Short())
	return p
}

func (w *world) find(inst types.InstanceID) *proc { return w.byInst[inst] }

// running says whether the process takes steps.
func (p *proc) running() bool { return !p.dead && !p.paused }

func (p *proc) tick() {
	p.touched = true
	p.doOwner(p.owner.Tick(p.w.now))
	for _, pe := range slices.Clone(p.peers) {
		pe.do(pe.view.Tick(p.w.now))
		if pe.shadow != nil {
			pe.shadow.Tick(p.w.now)
		}
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
		if pe.attach == 0 && pe.nextAttach > p.w.now {
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
		w.asked(a)
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
