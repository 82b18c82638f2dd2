package engine

import (
	"sync"
	"sync/atomic"
	"time"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/config"
	"mooncake_te/gocore/control"
	"mooncake_te/gocore/control/controlpb"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/transport"
	"mooncake_te/gocore/types"
)

// peer is one instance of another engine (or this one, reached through itself), however many names lead to it: its View,
// the transfers to it, their scheduler, and its paths.
type peer struct {
	e        *Engine
	instance types.InstanceID
	self     bool

	mu       sync.Mutex
	view     *coherence.View
	sched    *coherence.Scheduler
	session  control.Session
	name     string   // label from its HELLO
	addrs    []string // control channel
	data     []string // data ports
	segments int      // open handles that lead here

	paths     map[types.PathID]*pathState
	fallen    map[types.PathID]*pathState // down, with results of posts still to come; nil: down before dial took it over
	attaching types.Nonce                 // ATTACH sent and not answered, or 0
	wanted    int                         // how many connections that ATTACH asked for
	opened    uint64                      // how many paths there were
	prompting bool                        // mu is held by a submission that pushes afterwards
	held      transport.Prompt            // what it pushes
	dialing   int                         // tokens being turned into connections
	dialFails int                         // in a row
	retryAt   types.Time                  // not before: the next attempt after a failed one

	live       map[*coherence.Transfer]*Slot // not settled
	unfinished int                           // of these, those that are not final
	settled    *Slot                         // list of settled batches, until what is under way under mu has ended
	waiters    map[types.BufferID][]*Slot    // batches that wait for an answer about this ID
	notices    map[uint64]*notice            // NOTIFY not acknowledged

	given      bool // up: no session for three heartbeats, and none since
	evicted    bool // not in Engine.peers any more: nothing of its sessions arrives here
	connecting bool
	over       atomic.Bool // ended, for those who do not hold mu
	ended      bool        // replaced, closed, or our engine is closing
	vanished   bool        // and nothing of it is left
	endErr     error       // why
	timer      *time.Timer
	wakesAt    types.Time // when the timer fires; 0: it is not set
	lastErr    error      // of the last attempt to reach it
	gone       chan struct{}
}

type pathState struct {
	path    transport.Path
	prompt  transport.Prompt // the same, if it is one
	order   uint64           // of its opening
	bytes   uint64           // given to it and not reported
	posts   int
	dirty   bool // something sent on it ended unanswered: it must be retired
	proven  bool // the target answered on it, so it has seen the token
	closing bool
}

// maxPostsPerPath bounds how many posts wait inside one path; its bytes are bounded by max_peer_bytes_in_flight.
const maxPostsPerPath = 64

// tick is how often deadlines of live transfers are looked at.
const tick = 20 * time.Millisecond

// peerFor finds or makes the record of an instance.
func (e *Engine) peerFor(id types.InstanceID) *peer {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p := e.peers[id]; p != nil && !p.over.Load() {
		return p
	}
	p := &peer{
		e: e, instance: id, self: id == e.instance,
		view: coherence.NewView(coherence.ViewConfig{
			Instance: id, Random: randomWord, SoftTTL: types.Time(config.Millis(e.cfg.CacheTTLMS)),
		}),
		sched:   &coherence.Scheduler{},
		paths:   map[types.PathID]*pathState{},
		fallen:  map[types.PathID]*pathState{},
		live:    map[*coherence.Transfer]*Slot{},
		waiters: map[types.BufferID][]*Slot{},
		notices: map[uint64]*notice{},
		gone:    make(chan struct{}),
	}
	p.timer = time.AfterFunc(time.Hour, p.onTimer)
	p.timer.Stop()
	for _, path := range e.graves[id] { // should it live after all: nothing may land unnoticed
		p.view.PathLost(e.now(), path, true)
	}
	delete(e.graves, id)
	e.peers[id] = p
	return p
}

// maxGraves bounds what is remembered of peers that died with WRITEs under way.
const maxGraves = 16384

// bury remembers the paths of a dead peer that were never retired, in place of its record. Callers hold Engine.mu.
func (e *Engine) bury(id types.InstanceID, paths []types.PathID) {
	if len(e.graves) >= maxGraves {
		for old := range e.graves { // any: that many dead peers do not come back
			delete(e.graves, old)
			break
		}
	}
	e.graves[id] = paths
}

// lockedPeerFor is peerFor with mu held, of a record that is still in the table.
func (e *Engine) lockedPeerFor(id types.InstanceID) *peer {
	for {
		p := e.peerFor(id)
		p.mu.Lock()
		if !p.evicted {
			return p
		}
		p.mu.Unlock()
	}
}

func (e *Engine) peerIfKnown(id types.InstanceID) *peer {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.peers[id]
}

// evict drops the record of a peer that nothing needs any more, so that replaced nodes leave no memory behind.
func (e *Engine) evict(p *peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.mu.Lock() // a leaf under peer.mu
	defer e.mu.Unlock()
	idle := p.segments == 0 && p.session == nil && p.unfinished == 0 && len(p.paths) == 0 && p.dialing == 0 && !p.connecting
	if idle && (p.ended || p.given || len(p.live) == 0 && p.view.Evictable()) && e.peers[p.instance] == p {
		if left := p.view.Retiring(); !p.vanished && len(left) > 0 {
			e.bury(p.instance, left)
		}
		p.evicted = true
		p.timer.Stop()
		delete(e.peers, p.instance)
	}
}

func (p *peer) error(code errcode.Code, op, detail string) *errcode.Error {
	err := errcode.New(code, op, detail)
	err.Peer = p.instance.Short()
	if len(p.addrs) > 0 {
		err.Peer += " at " + p.addrs[0]
	}
	err.Segment = p.name
	switch code {
	case errcode.StaleInstance:
		err.Hint = "the peer was replaced: refresh the segment and ask it for new buffer handles"
	case errcode.StaleBuffer, errcode.Revoked, errcode.DrainingCode:
		err.Hint = "the owner took the buffer back: ask it for a new handle"
	case errcode.PeerUnreachable:
		err.Hint = "check that the peer runs, and that its control and data addresses can be reached from here"
	case errcode.PeerDead:
		err.Hint = "the peer stopped answering: refresh the segment once it is back"
	case errcode.Stalled:
		err.Hint = "no byte moved for the stall time: is the peer stopped or its link down?"
	case errcode.MemoryFault:
		err.Hint = "memory of one side was unmapped without being deregistered"
	case errcode.Checksum:
		err.Hint = "the bytes changed on the way, or the source was written while it was read"
	}
	return err
}

// lockedError is error for those who do not hold mu.
func (p *peer) lockedError(code errcode.Code, op, detail string) *errcode.Error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.error(code, op, detail)
}

// send queues one event for the peer's owner. Without a session it is dropped; the View asks again on the next one.
func (p *peer) send(ev *controlpb.Event) {
	if p.session == nil {
		p.connect()
		return
	}
	if err := p.session.Send(ev); err != nil {
		p.e.log.Debug("control message not queued", "peer", p.instance.Short(), "error", err)
	}
}

// run carries out what the View answered. Callers hold mu.
func (p *peer) run(actions []coherence.Action) {
	for _, a := range actions {
		p.apply(a)
	}
}

// runFor carries out what a Transfer answered. Callers hold mu.
func (p *peer) runFor(t *coherence.Transfer, actions []coherence.Action) {
	for _, a := range actions {
		switch a := a.(type) {
		case coherence.AbortPost:
			if ps := p.paths[a.Post.Path]; ps != nil {
				ps.path.Abort(a.Post)
			}
		case coherence.KillPath:
			p.killPath(a.Path, errcode.New(a.Cause, "transfer", "the path did not answer an abort"))
		case coherence.Finished:
			if b := p.live[t]; b != nil {
				b.finish()
			}
		}
	}
}

func (p *peer) killPath(id types.PathID, cause error) {
	ps := p.paths[id]
	if ps == nil || ps.closing {
		return
	}
	ps.closing = true
	ps.path.Close(cause)
}

// apply carries one action of the View out. Callers hold mu.
func (p *peer) apply(a coherence.Action) {
	switch a := a.(type) {
	case coherence.SendDrainAck:
		p.send(&controlpb.Event{Kind: &controlpb.Event_DrainAck{DrainAck: &controlpb.DrainAck{
			Ids: toWire(a.IDs), Nonce: uint64(a.Nonce),
		}}})
	case coherence.CutOperations:
		for t, b := range p.live {
			p.runFor(t, t.Cut(p.e.now(), a.IDs, errcode.DrainingCode))
			p.settle(b)
		}
	case coherence.SendRetire:
		p.e.metrics.Retires.WithLabelValues("asked").Inc()
		p.send(&controlpb.Event{Kind: &controlpb.Event_Retire{Retire: &controlpb.Retire{Nonce: uint64(a.Nonce), Tokens: toWire(a.Paths)}}})
	case coherence.PathsRetired:
		for t, b := range p.live {
			p.runFor(t, t.PathsRetired(p.e.now(), a.Paths))
			p.settle(b)
		}
	case coherence.SendGrantQuery:
		p.send(&controlpb.Event{Kind: &controlpb.Event_GrantQuery{GrantQuery: &controlpb.GrantQuery{Id: uint64(a.ID)}}})
	case coherence.GrantResolved:
		p.resolved(a.ID, a.Code)
	case coherence.Refresh:
		p.refresh(a.Why)
	case coherence.Drop:
		p.e.metrics.Drops.WithLabelValues(a.Cause).Inc()
		p.e.log.Info("what a peer's change made stale is dropped", "peer", p.instance.Short(), "cause", a.Cause, "all", a.All)
		if a.All {
			for id := range p.paths {
				p.killPath(id, p.error(errcode.StaleInstance, "invalidate", a.Cause))
			}
		}
	case coherence.HoldWrites, coherence.ReleaseWrites:
		// The View itself is asked at each pump; nothing to remember.
	}
}

// settle tells the View which operations of a batch got remotely quiet, and forgets the batch once nothing is owed.
func (p *peer) settle(b *Slot) {
	for _, q := range b.t.TakeQuiet() {
		entered := b.entered(q.ID)
		if entered == nil || *entered == 0 {
			continue // what never entered (its buffer stayed unknown) is not on the gate
		}
		n := min(q.N, *entered)
		*entered -= n
		p.run(p.view.Leave(p.e.now(), q.ID, n))
	}
	if !b.settled && b.final && b.t.Settled() {
		b.settled = true
		delete(p.live, b.t)
		b.t.ReleaseRequests()
		b.dropRequests()
		b.next, p.settled = p.settled, b
	}
	if !b.final {
		b.words.progress(b.t.BytesDone())
	}
}

// releaseSettled gives up the engine's interest in batches of which nothing is left to do. Callers hold mu, and look at no
// batch afterwards: it may be another one by then.
func (p *peer) releaseSettled() {
	for b := p.settled; b != nil; b = p.settled {
		p.settled, b.next = b.next, nil
		b.release(1)
	}
}

// onTimer looks at deadlines, acknowledgements that are due, and reconnects.
func (p *peer) onTimer() {
	p.mu.Lock()
	p.wakesAt = 0
	now := p.e.now()
	p.run(p.view.Tick(now))
	for t, b := range p.live {
		p.runFor(t, t.Tick(now))
		p.settle(b)
	}
	p.pump()
	p.releaseSettled()
	p.mu.Unlock()
}

// arm sets the timer for whatever comes next. Callers hold mu.
func (p *peer) arm() {
	at, ok := p.view.NextWake()
	if p.unfinished > 0 {
		if t := p.e.now() + types.Time(tick); !ok || t < at {
			at, ok = t, true
		}
	}
	if ok && (!p.ended || p.unfinished > 0) {
		p.wakeBy(at)
	}
}

// end closes everything of this peer for good, with what was sent to it left open: the engine closes.
func (p *peer) end(code errcode.Code, detail string) { p.finish(code, detail, false) }

// vanish is end for an instance that is known to be gone: nothing sent to it can land any more.
func (p *peer) vanish(code errcode.Code, detail string) { p.finish(code, detail, true) }

func (p *peer) finish(code errcode.Code, detail string, vanished bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.releaseSettled()
	if !p.ended {
		p.ended = true
		p.over.Store(true)
		p.endErr = p.error(code, "reach peer", detail)
		close(p.gone)
	}
	p.failAll(code, detail)
	if vanished && !p.vanished {
		p.vanished = true
		if p.e.meta != nil {
			p.e.meta.resolver.Unbound(p.instance, detail)
		}
		now := p.e.now()
		p.run(p.view.Replaced(now))
		for t, b := range p.live {
			p.runFor(t, t.PeerReplaced(now))
			p.settle(b)
		}
	}
	for id := range p.paths {
		p.killPath(id, p.endErr)
	}
	p.arm()
}

// failAll ends every live transfer and notification with a reason. Callers hold mu.
func (p *peer) failAll(code errcode.Code, detail string) {
	for t, b := range p.live {
		if b.final {
			continue
		}
		if b.err == nil {
			b.err = p.error(code, b.op.String(), detail)
		}
		p.runFor(t, t.Cancel(p.e.now(), code))
		p.settle(b)
	}
	for nonce, n := range p.notices {
		delete(p.notices, nonce)
		n.fail(p.error(code, "notify", detail))
	}
}
