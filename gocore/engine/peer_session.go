package engine

import (
	"context"
	"errors"
	"time"

	"mooncake_te/gocore/config"
	"mooncake_te/gocore/control"
	"mooncake_te/gocore/control/controlpb"
	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

const (
	dialBackoffMin = 20 * time.Millisecond
	dialBackoffMax = time.Second
)

// connect sees that somebody dials while there is no session and something needs one. Callers hold mu.
func (p *peer) connect() {
	if p.session != nil || p.connecting || p.ended {
		return
	}
	p.connecting = p.e.spawn(p.dialLoop)
}

// needsSession: work waits for the peer, or the peer has our paths in its holders and would fence them.
func (p *peer) needsSession() bool {
	return p.unfinished > 0 || len(p.notices) > 0 || len(p.paths) > 0 || len(p.waiters) > 0
}

// dialLoop dials until there is a session, nothing needs one, or the peer is given up.
func (p *peer) dialLoop() {
	begun, backoff := time.Now(), dialBackoffMin
	deadAfter := 3 * config.Millis(p.e.cfg.HeartbeatMS)
	for {
		p.mu.Lock()
		if p.session != nil || p.ended || !p.needsSession() {
			p.connecting = false
			p.mu.Unlock()
			p.e.evict(p)
			return
		}
		addrs := p.addrs
		p.mu.Unlock()

		err := p.dialOnce(addrs)
		if err == nil {
			continue // SessionUp was delivered, or comes at once
		}
		var stale *control.StaleInstanceError
		if errors.As(err, &stale) {
			p.e.replaced(p, stale.Present)
			continue
		}
		p.mu.Lock()
		p.lastErr = err
		p.mu.Unlock()
		if time.Since(begun) >= deadAfter {
			p.giveUp(err)
			begun = time.Now()
			continue
		}
		select {
		case <-time.After(backoff):
		case <-p.gone:
		case <-p.e.ctx.Done():
		}
		backoff = min(2*backoff, dialBackoffMax)
	}
}

func (p *peer) dialOnce(addrs []string) error {
	if p.self {
		p.e.attachSelf(p)
		return nil
	}
	if len(addrs) == 0 {
		return errcode.New(errcode.PeerUnreachable, "dial", "the peer told no address")
	}
	ctx, cancel := context.WithTimeout(p.e.ctx, config.Millis(p.e.cfg.DialTimeoutMS))
	defer cancel()
	_, err := p.e.node.Dial(ctx, addrs, p.instance)
	return err
}

// giveUp ends what waits for a peer that did not answer for three heartbeats.
func (p *peer) giveUp(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session != nil {
		return
	}
	if p.attaching != 0 { // never answered; should it be after all, its tokens are retired
		p.attaching = 0
		p.view.Attaching(-1)
	}
	if p.e.meta != nil {
		p.e.meta.resolver.Stale(p.instance, "it does not answer")
	}
	p.e.log.Warn("peer given up", "peer", p.instance.Short(), "error", err)
	p.given = true
	for id := range p.paths {
		p.killPath(id, p.error(errcode.PeerDead, "reach peer", "no session for three heartbeats"))
	}
	p.failAll(errcode.PeerDead, sprintf("no session for three heartbeats: %v", err))
}

// replaced: another instance answers at an address that this peer itself told. With a live session that proves nothing:
// the peer is there, whoever shares its address now.
func (e *Engine) replaced(p *peer, present types.InstanceID) {
	p.mu.Lock()
	alive := p.session != nil
	p.mu.Unlock()
	if alive {
		e.log.Warn("another instance answers at the address of a live peer", "peer", p.instance.Short(), "present", present.Short())
		return
	}
	e.log.Info("peer was replaced", "peer", p.instance.Short(), "present", present.Short())
	p.vanish(errcode.StaleInstance, sprintf("instance %s answers at its address now", present))
	e.evict(p)
}

// ---- control.Handler

// SessionUp: see control.Handler.
func (e *Engine) SessionUp(s control.Session, hello *controlpb.Hello) {
	<-e.ready
	id := s.Peer()
	e.metrics.Sessions.WithLabelValues("up").Inc()
	m := e.memory
	m.mu.Lock()
	m.sessions[id] = s
	m.run(m.owner.SessionUp(e.now(), id))
	m.mu.Unlock()

	p := e.lockedPeerFor(id)
	defer p.mu.Unlock()
	p.session, p.given = s, false
	p.name = hello.GetName()
	if len(hello.GetAddresses()) > 0 {
		p.addrs = hello.GetAddresses()
	}
	if len(hello.GetDataAddresses()) > 0 {
		p.data = hello.GetDataAddresses()
	}
	p.lastErr = nil
	now := e.now()
	p.run(p.view.SessionUp(now))
	p.run(p.view.Heartbeat(now, types.Version(hello.GetVersion()), types.Version(hello.GetFloor())))
	if p.attaching != 0 {
		p.sendAttach() // unanswered in the session before; tokens that got lost with it make room for new ones
	}
	for _, n := range p.notices {
		p.send(n.event)
	}
	p.pump()
}

// SessionDown: see control.Handler.
func (e *Engine) SessionDown(s control.Session, err error) {
	id := s.Peer()
	e.metrics.Sessions.WithLabelValues("down").Inc()
	// CLOSED is the peer's goodbye: it has fenced all its memory and is closed for good, so nothing can land there any
	// more and nobody has to wait for it.
	e.mu.Lock()
	goodbye := errcode.Of(err) == errcode.Closed && !e.ended
	e.mu.Unlock()
	m := e.memory
	m.mu.Lock()
	if m.sessions[id] == s {
		delete(m.sessions, id)
		if goodbye {
			m.run(m.owner.PeerGone(e.now(), id))
		} else {
			m.run(m.owner.SessionDown(e.now(), id))
		}
	}
	m.mu.Unlock()

	p := e.peerIfKnown(id)
	if p == nil {
		return
	}
	if goodbye {
		p.vanish(errcode.PeerDead, "the peer closed its engine")
	}
	p.mu.Lock()
	if p.session == s {
		e.log.Debug("session down", "peer", id.Short(), "error", err)
		p.session = nil
		p.lastErr = err
		p.run(p.view.SessionDown(e.now()))
		if p.needsSession() {
			p.connect()
		}
		p.arm()
	}
	p.mu.Unlock()
	e.evict(p)
}

// Describe: see control.Handler.
func (e *Engine) Describe(types.InstanceID) *descriptor.Descriptor {
	<-e.ready
	return e.describe()
}

func (e *Engine) describe() *descriptor.Descriptor {
	m := e.memory
	m.mu.Lock()
	version, buffers := m.owner.Describe()
	m.mu.Unlock()
	return e.descriptorOf(version, buffers)
}

// publishedDescriptor is labelled with the last published version, as heads are: grants take versions that nobody else
// hears of.
func (e *Engine) publishedDescriptor() *descriptor.Descriptor {
	m := e.memory
	m.mu.Lock()
	_, buffers := m.owner.Describe()
	version := m.owner.Published()
	m.mu.Unlock()
	return e.descriptorOf(version, buffers)
}

func (e *Engine) descriptorOf(version types.Version, buffers []descriptor.Buffer) *descriptor.Descriptor {
	return &descriptor.Descriptor{
		Head: descriptor.Head{
			Name: e.cfg.Name, Instance: e.instance, Version: version,
			Addresses: e.addresses(), Data: e.server.Addresses(),
		},
		Buffers: buffers,
	}
}

// refresh describes the peer in the background; the View asks for one at a time. Callers hold mu.
func (p *peer) refresh(why string) {
	p.e.metrics.Refreshes.WithLabelValues(why).Inc()
	addrs := p.addrs
	p.e.spawn(func() {
		d, err := p.describe(p.e.ctx, addrs)
		if err != nil {
			p.mu.Lock()
			p.run(p.view.RefreshFailed(p.e.now(), errcode.Of(err)))
			p.arm()
			p.mu.Unlock()
			var stale *control.StaleInstanceError
			if errors.As(err, &stale) {
				p.e.replaced(p, stale.Present)
			}
			return
		}
		if _, err := p.adopt(d); err != nil {
			p.e.log.Warn("a descriptor was refused", "peer", p.instance.Short(), "error", err)
		}
	})
}

func (p *peer) describe(ctx context.Context, addrs []string) (*descriptor.Descriptor, error) {
	if p.self {
		return p.e.describe(), nil
	}
	ctx, cancel := context.WithTimeout(ctx, config.Millis(p.e.cfg.OpenTimeoutMS))
	defer cancel()
	return p.e.node.Describe(ctx, addrs, p.instance)
}

// adopt hands a descriptor to the View and goes on with whatever it unblocks.
func (p *peer) adopt(d *descriptor.Descriptor) (types.Version, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change, actions, err := p.view.Adopt(p.e.now(), d)
	result := "older"
	switch {
	case err != nil:
		result = "invalid"
	case change.Adopted:
		result = "adopted"
	}
	p.e.metrics.Adoptions.WithLabelValues(result).Inc()
	p.run(actions)
	p.pump()
	if err != nil {
		return 0, err
	}
	return p.view.Descriptor().Version, nil
}
