package engine

import (
	"context"
	"log/slog"
	"slices"

	"mooncake_te/gocore/config"
	"mooncake_te/gocore/control/controlpb"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/transport"
	"mooncake_te/gocore/transport/local"
	"mooncake_te/gocore/types"
)

// After a failed attempt the next waits this long, doubled per failure in a row.
const (
	pathRetryMin = 50 * types.Millisecond
	pathRetryMax = 2 * types.Second
	// pathAttempts without any success end what is queued: the peer answers on its control channel, so its data address
	// is wrong or filtered, and waiting for the stall deadline would only hide that.
	pathAttempts = 6
)

// ensurePaths asks for connections when there are fewer than wanted. Callers hold mu.
func (p *peer) ensurePaths() {
	if p.ended {
		return
	}
	if p.session == nil {
		p.connect()
		return
	}
	usable := 0
	for _, ps := range p.paths {
		if !ps.closing {
			usable++
		}
	}
	want := p.e.cfg.ConnectionsPerPeer
	if p.self {
		want = 1
	}
	if missing := want - usable - p.dialing; missing > 0 && p.attaching == 0 && p.e.now() >= p.retryAt {
		p.attach(missing)
	}
}

func (p *peer) attach(n int) {
	for p.attaching == 0 {
		p.attaching = types.Nonce(randomWord())
	}
	p.wanted = n
	p.view.Attaching(1) // until its tokens are known
	p.sendAttach()
}

func (p *peer) sendAttach() {
	p.send(&controlpb.Event{Kind: &controlpb.Event_Attach{Attach: &controlpb.Attach{
		Request: uint64(p.attaching), Connections: uint32(p.wanted), Transport: "tcp",
	}}})
}

// attached turns tokens into connections. What comes unasked, or for a request that was given up, is retired.
func (p *peer) attached(a *controlpb.Attached) {
	tokens := fromWire[types.PathID](a.GetTokens())
	now := p.e.now()
	if types.Nonce(a.GetRequest()) != p.attaching || p.ended {
		p.run(p.view.TokensUnused(now, tokens))
		return
	}
	p.attaching = 0
	tokens, surplus := p.usableTokens(tokens)
	if len(surplus) > 0 {
		p.run(p.view.TokensUnused(now, surplus))
	}
	p.view.Attaching(len(tokens) - 1)
	if len(a.GetDataAddresses()) > 0 {
		p.data = a.GetDataAddresses()
	}
	if len(tokens) == 0 {
		p.pathFailed(errcode.New(errcode.ResourceExhausted, "attach", "the peer gave no connection token"))
		return
	}
	floor, nonReady := types.Version(a.GetFloor()), fromWire[types.BufferID](a.GetNonReady())
	for _, token := range tokens {
		data := p.data
		p.e.pathPeers.Store(token, p) // before the path can report anything
		if p.e.spawn(func() { p.dial(token, data, floor, nonReady) }) {
			p.dialing++
		} else {
			p.e.pathPeers.Delete(token)
		}
	}
}

// usableTokens takes as many as were asked for, and none that is in use: tokens come from the peer, and a path is known by
// its token alone.
func (p *peer) usableTokens(tokens []types.PathID) (use, surplus []types.PathID) {
	for _, t := range tokens {
		_, taken := p.e.pathPeers.Load(t)
		switch {
		case taken || slices.Contains(use, t): // not ours to retire either
		case len(use) == p.wanted:
			surplus = append(surplus, t)
		default:
			use = append(use, t)
		}
	}
	return use, surplus
}

func (p *peer) dial(token types.PathID, data []string, floor types.Version, nonReady []types.BufferID) {
	defer p.e.evict(p)
	path, err := p.openPath(token, data)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dialing--
	if !p.vanished {
		p.view.Attaching(-1)
	}
	_, fell := p.fallen[token]
	switch {
	case err == nil && fell:
		err = p.error(errcode.PeerUnreachable, "open path", "the connection ended at once")
	case err == nil && p.ended:
		path.Close(p.endErr)
		err = p.endErr
	}
	if err != nil {
		if path == nil || fell {
			delete(p.fallen, token)
			p.e.pathPeers.Delete(token)
		} else {
			p.fallen[token] = nil // PathDown is still to come
		}
		p.run(p.view.TokensUnused(p.e.now(), []types.PathID{token}))
		p.pathFailed(err)
		return
	}
	p.dialFails, p.lastErr = 0, nil
	p.paths[token] = p.newPathState(path)
	p.e.metrics.PathsOpened.WithLabelValues(path.Kind()).Inc()
	p.run(p.view.PathUp(p.e.now(), token, floor, nonReady))
	p.pump()
}

func (p *peer) openPath(token types.PathID, data []string) (transport.Path, error) {
	if p.self {
		path := local.New(local.Config{ID: token, Memory: p.e.memory, Sink: p.e, Logger: p.e.log})
		if _, ok := p.e.memory.TokenUsed(token, selfConn{path}); !ok {
			path.Close(nil)
			return path, errcode.New(errcode.Fenced, "open path", "the token was retired")
		}
		return path, nil
	}
	ctx, cancel := context.WithTimeout(p.e.ctx, config.Millis(p.e.cfg.DialTimeoutMS))
	defer cancel()
	return p.e.dialer.Dial(ctx, data, token, p.instance, p.e.instance)
}

// selfConn lets the owner's side cut an engine's path to itself.
type selfConn struct{ path transport.Path }

func (c selfConn) Kill(cause error) { c.path.Close(cause) }

// pathFailed backs off, and after several failures in a row ends what is queued. Callers hold mu.
func (p *peer) pathFailed(err error) {
	p.dialFails++
	p.lastErr = err
	wait := min(pathRetryMin<<min(p.dialFails-1, 8), pathRetryMax)
	p.retryAt = p.e.now() + wait
	if p.ended || p.e.ctx.Err() != nil {
		return
	}
	level := slog.LevelWarn
	if len(p.paths) > 0 { // fewer than wanted, which is no loss
		level = slog.LevelDebug
	}
	p.e.log.Log(context.Background(), level, "no data path", "peer", p.instance.Short(), "attempt", p.dialFails, "error", err)
	if p.dialFails >= pathAttempts && len(p.paths) == 0 {
		p.dialFails = 0
		p.failAll(errcode.PeerUnreachable, sprintf("no data path could be opened: %v", err))
	}
	p.arm()
}

func (e *Engine) peerOfPath(id types.PathID) *peer {
	v, ok := e.pathPeers.Load(id)
	if !ok {
		return nil
	}
	return v.(*peer)
}

// PathDown takes the end of a path from a transport: see transport.Sink.
func (e *Engine) PathDown(path transport.Path, cause error) {
	id := path.ID()
	p := e.peerOfPath(id)
	if p == nil {
		return
	}
	if p.self {
		defer e.memory.ConnGone(id)
	}
	p.mu.Lock()
	ps := p.paths[id]
	if ps == nil { // dial has not taken it over yet, or has given it up; either way dial retires the token
		if _, abandoned := p.fallen[id]; abandoned {
			delete(p.fallen, id)
			e.pathPeers.Delete(id)
		} else {
			p.fallen[id] = nil
		}
		p.mu.Unlock()
		e.evict(p)
		return
	}
	delete(p.paths, id)
	if ps.posts > 0 { // given to it after its end: their results are on their way
		p.fallen[id] = ps
	} else {
		e.pathPeers.Delete(id)
	}
	code := errcode.Of(cause)
	if cause == nil {
		code = errcode.Closed
	}
	e.metrics.PathsClosed.WithLabelValues(path.Kind(), code.String()).Inc()
	e.log.Debug("path down", "peer", p.instance.Short(), "cause", cause, "dirty", ps.dirty)
	p.lastErr = cause
	p.run(p.view.PathLost(e.now(), id, ps.dirty))
	if !ps.dirty && !ps.proven { // the owner may never have seen the token, and would take us for a holder for ever
		p.run(p.view.TokensUnused(e.now(), []types.PathID{id}))
	}
	p.pump()
	p.mu.Unlock()
	e.evict(p)
}

// why explains the choice of path. Callers hold mu.
func (p *peer) why() string {
	if p.self {
		return "the segment is this engine itself: bytes are copied in place"
	}
	return "tcp is the only transport of this engine (transports=[tcp])"
}

// waitingFor says in a sentence what keeps a batch from moving. Callers hold mu.
func (p *peer) waitingFor(b *Slot) string {
	switch {
	case len(b.waiting) > 0:
		return sprintf("the owner's answer about %d remote buffer(s)", len(b.waiting))
	case p.session == nil && len(p.paths) == 0:
		return sprintf("a session with the peer (last error: %v)", p.lastErr)
	case p.view.WritesHeld() && b.op == types.Write:
		return "the peer's word that an earlier, unfinished WRITE cannot land any more (RETIRED)"
	case len(p.paths) == 0:
		return sprintf("a data path to the peer (last error: %v)", p.lastErr)
	}
	return "bytes to move"
}
