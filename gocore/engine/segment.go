package engine

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"mooncake_te/gocore/config"
	"mooncake_te/gocore/control"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/netaddr"
	"mooncake_te/gocore/types"
)

// segment is one reader's handle of a name. It stays with the name when the node is replaced; Refresh moves it to the
// instance that answers now.
type segment struct {
	id     types.SegmentID
	name   string
	peer   *peer // under Engine.mu
	shares int   // of a handle that warm opens returned again: how many times it must be closed
}

// OpenResult is what opening or refreshing a segment brings.
type OpenResult struct {
	Segment  types.SegmentID `json:"segment,string"`
	Name     string          `json:"name"`
	Instance string          `json:"instance"`
	Version  types.Version   `json:"version,string"`
}

// Open finds the engine behind a name (peer to peer: its host:port) and fetches its descriptor. It keeps trying until
// the timeout, so that peers may start in any order.
// With a metadata store it looks the name up there.
func (e *Engine) Open(name string, timeout time.Duration) (*Task, error) {
	return e.open(name, false, timeout)
}

// OpenAnew is Open that asks the store even if the name is known.
func (e *Engine) OpenAnew(name string, timeout time.Duration) (*Task, error) {
	return e.open(name, true, timeout)
}

func (e *Engine) open(name string, noCache bool, timeout time.Duration) (*Task, error) {
	const op = "open segment"
	if err := e.usable(op); err != nil {
		return nil, err
	}
	if e.meta != nil {
		return e.openNamed(op, name, noCache, timeout)
	}
	if err := checkName(op, name); err != nil {
		return nil, err
	}
	return e.run(func() (any, error) {
		p, version, err := e.reach(op, name, timeout)
		if err != nil {
			return nil, err
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.lastSeg++
		seg := &segment{id: e.lastSeg, name: name, peer: p}
		e.segments[seg.id] = seg
		return &OpenResult{Segment: seg.id, Name: name, Instance: p.instance.String(), Version: version}, nil
	}), nil
}

func checkName(op, name string) error {
	addr, err := netaddr.Parse(name)
	if err != nil {
		return errcode.New(errcode.InvalidArgument, op, sprintf("segment name %q", name)).
			WithHint("peer to peer, a segment's name is the control address of its engine, such as 10.0.0.7:17001").Wrap(err)
	}
	if addr.PortLo == 0 || addr.PortLo != addr.PortHi {
		return errcode.New(errcode.InvalidArgument, op, sprintf("segment name %q has no single port", name)).
			WithHint("peer to peer, a segment's name is the control address of its engine, such as 10.0.0.7:17001")
	}
	return nil
}

// reach dials a name, whoever answers, and adopts that instance's descriptor. The peer's segment count is taken.
func (e *Engine) reach(op, name string, timeout time.Duration) (*peer, types.Version, error) {
	if timeout <= 0 {
		timeout = config.Millis(e.cfg.OpenTimeoutMS)
	}
	ctx, cancel := context.WithTimeout(e.ctx, timeout)
	defer cancel()
	backoff := dialBackoffMin
	for {
		p, version, err := e.tryReach(ctx, name)
		if err == nil {
			return p, version, nil
		}
		if !retryable(err) || ctx.Err() != nil {
			return nil, 0, e.openError(op, name, timeout, err)
		}
		select {
		case <-time.After(backoff):
		case <-ctx.Done():
			return nil, 0, e.openError(op, name, timeout, err)
		}
		backoff = min(2*backoff, dialBackoffMax)
	}
}

// retryable: trying again may help, because the peer may still be starting or being replaced.
func retryable(err error) bool {
	switch errcode.Of(err) {
	case errcode.PeerUnreachable, errcode.PeerDead, errcode.StaleInstance, errcode.Deadline, errcode.Closed:
		return true
	}
	return false
}

func (e *Engine) openError(op, name string, timeout time.Duration, err error) error {
	if e.ctx.Err() != nil {
		return errcode.New(errcode.Closed, op, "the engine was closed")
	}
	var typed *errcode.Error
	if errors.As(err, &typed) {
		out := *typed
		out.Op, out.Segment = op, name
		if retryable(err) {
			out.Code = errcode.PeerUnreachable
			out.Detail = sprintf("no engine answered within %v: %s", timeout, typed.Detail)
			if out.Hint == "" {
				out.Hint = "check that the peer runs and that the address is the one its engine.address shows"
			}
		}
		return &out
	}
	return errcode.New(errcode.PeerUnreachable, op, sprintf("no engine answered at %q within %v", name, timeout)).Wrap(err)
}

// peerByName is the peer that an open segment of this name leads to, if there is a live session with it.
func (e *Engine) peerByName(name string) *peer {
	e.mu.Lock()
	var p *peer
	for _, seg := range e.segments {
		if seg.name == name {
			p = seg.peer
		}
	}
	e.mu.Unlock()
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended || p.session == nil {
		return nil
	}
	p.segments++
	return p
}

// fetch adopts the present descriptor of a peer whose segment count the caller has taken; on an error it is given back.
func (e *Engine) fetch(ctx context.Context, p *peer, addrs []string) (types.Version, error) {
	d, err := p.describe(ctx, addrs)
	var version types.Version
	if err == nil {
		version, err = p.adopt(d)
	}
	if err != nil {
		p.release()
	}
	return version, err
}

func (e *Engine) tryReach(ctx context.Context, name string) (*peer, types.Version, error) {
	if p := e.peerByName(name); p != nil { // asked by instance, so a replaced one says so
		if version, err := e.fetch(ctx, p, []string{name}); err == nil {
			return p, version, nil
		}
		// Another instance at this name does not end the old one: a name may move while its first bearer lives on.
	}
	dialCtx, cancel := context.WithTimeout(ctx, config.Millis(e.cfg.DialTimeoutMS))
	defer cancel()
	s, err := e.node.Dial(dialCtx, []string{name}, types.InstanceID{})
	var id types.InstanceID
	switch {
	case errors.Is(err, control.ErrSelf):
		id = e.instance
	case err != nil:
		return nil, 0, err
	default:
		id = s.Peer()
	}
	p := e.lockedPeerFor(id)
	if p.ended {
		p.mu.Unlock()
		e.evict(p)
		return nil, 0, p.endErr
	}
	p.segments++
	if len(p.addrs) == 0 {
		p.addrs = []string{name}
	}
	p.mu.Unlock()
	version, err := e.fetch(ctx, p, []string{name})
	if err != nil {
		return nil, 0, err
	}
	return p, version, nil
}

func (p *peer) release() {
	p.mu.Lock()
	p.segments--
	p.mu.Unlock()
	p.e.evict(p)
}

func (e *Engine) segment(op string, id types.SegmentID) (*segment, *peer, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	seg := e.segments[id]
	if seg != nil {
		return seg, seg.peer, nil
	}
	if id > 0 && id <= e.lastSeg {
		return nil, nil, errcode.New(errcode.Closed, op, sprintf("segment %d was closed", id)).WithHint("open it again")
	}
	return nil, nil, errcode.New(errcode.SegmentNotFound, op, sprintf("segment %d was never opened by this engine", id))
}

func (e *Engine) peerOfSegment(op string, id types.SegmentID, expected types.InstanceID) (*peer, error) {
	seg, p, err := e.segment(op, id)
	if err != nil {
		return nil, err
	}
	if !expected.IsZero() && expected != p.instance {
		err := p.lockedError(errcode.StaleInstance, op, sprintf("the buffer belongs to instance %s, segment %q is %s now",
			expected.Short(), seg.name, p.instance.Short()))
		err.Segment = seg.name
		return nil, err
	}
	return p, nil
}

// Refresh fetches the descriptor anew and moves the segment to whoever answers at its name now.
func (e *Engine) Refresh(id types.SegmentID, timeout time.Duration) (*Task, error) {
	const op = "refresh segment"
	if err := e.usable(op); err != nil {
		return nil, err
	}
	seg, _, err := e.segment(op, id)
	if err != nil {
		return nil, err
	}
	if e.meta != nil {
		return e.refreshNamed(op, seg, timeout)
	}
	return e.run(func() (any, error) {
		p, version, err := e.reach(op, seg.name, timeout)
		if err != nil {
			return nil, err
		}
		e.mu.Lock()
		old := seg.peer
		closed := e.segments[id] != seg
		if !closed {
			seg.peer = p
		}
		e.mu.Unlock()
		if closed {
			p.release()
			return nil, errcode.New(errcode.Closed, op, "the segment was closed meanwhile")
		}
		old.release()
		return &OpenResult{Segment: id, Name: seg.name, Instance: p.instance.String(), Version: version}, nil
	}), nil
}

// CloseSegment gives the handle back; transfers under way go on.
func (e *Engine) CloseSegment(id types.SegmentID) error {
	if _, _, err := e.segment("close segment", id); err != nil {
		return err
	}
	e.mu.Lock()
	seg := e.segments[id]
	if seg != nil && seg.shares > 1 { // else somebody else closed it meanwhile
		seg.shares--
		e.mu.Unlock()
		e.unrefName(seg.name)
		return nil
	}
	delete(e.segments, id)
	var p *peer
	if seg != nil {
		p = seg.peer
		e.forgetNamed(seg)
	}
	e.mu.Unlock()
	switch {
	case p == nil:
	case e.meta != nil:
		e.unrefName(seg.name)
	default:
		p.release()
	}
	return nil
}

// SegmentBuffer is one listed buffer of a peer.
type SegmentBuffer struct {
	ID       types.BufferID `json:"id,string"`
	Length   uint64         `json:"length"`
	State    string         `json:"state"`
	Perm     string         `json:"perm"`
	Label    string         `json:"label"`
	Location string         `json:"location"`
}

// SegmentInfo is the cached descriptor of a segment.
type SegmentInfo struct {
	Segment  types.SegmentID `json:"segment,string"`
	Name     string          `json:"name"`
	Label    string          `json:"label"` // the name its engine was given
	Instance string          `json:"instance"`
	Version  types.Version   `json:"version,string"`
	Session  bool            `json:"session"`
	Buffers  []SegmentBuffer `json:"buffers"`
}

// SegmentJSON renders the cached descriptor; it never fetches.
func (e *Engine) SegmentJSON(id types.SegmentID) ([]byte, error) {
	seg, p, err := e.segment("describe segment", id)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	d := p.view.Descriptor()
	info := SegmentInfo{Segment: id, Name: seg.name, Instance: p.instance.String(), Session: p.session != nil, Buffers: []SegmentBuffer{}}
	p.mu.Unlock()
	if d != nil {
		info.Label, info.Version = d.Name, d.Version
		for i := range d.Buffers {
			b := &d.Buffers[i]
			info.Buffers = append(info.Buffers, SegmentBuffer{
				ID: b.ID, Length: b.Length, State: b.State.String(), Perm: b.Perm.String(), Label: b.Label, Location: b.Location,
			})
		}
	}
	return json.Marshal(info)
}

// Ping measures a round trip on the session.
func (e *Engine) Ping(id types.SegmentID, timeout time.Duration) (*Task, error) {
	const op = "ping"
	if err := e.usable(op); err != nil {
		return nil, err
	}
	seg, p, err := e.segment(op, id)
	if err != nil {
		return nil, err
	}
	if timeout <= 0 {
		timeout = config.Millis(e.cfg.OpenTimeoutMS)
	}
	return e.run(func() (any, error) {
		ctx, cancel := context.WithTimeout(e.ctx, timeout)
		defer cancel()
		rtt, err := p.ping(ctx, seg.name)
		if err != nil {
			return nil, err
		}
		return map[string]float64{"rtt_us": float64(rtt.Nanoseconds()) / 1e3}, nil
	}), nil
}

func (p *peer) ping(ctx context.Context, name string) (time.Duration, error) {
	p.mu.Lock()
	s, ended, addrs := p.session, p.ended, p.addrs
	endErr := p.endErr
	p.mu.Unlock()
	if ended {
		return 0, endErr
	}
	if p.self {
		return 0, nil
	}
	if s == nil {
		var err error
		if s, err = p.e.node.Dial(ctx, addrs, p.instance); err != nil {
			var stale *control.StaleInstanceError
			if errors.As(err, &stale) {
				p.e.replaced(p, stale.Present)
			}
			return 0, err
		}
	}
	rtt, err := s.Ping(ctx)
	if err == nil {
		return rtt, nil
	}
	if p.e.ctx.Err() != nil {
		return 0, errcode.New(errcode.Closed, "ping", "the engine was closed")
	}
	if ctx.Err() != nil {
		return 0, p.lockedError(errcode.Deadline, "ping", sprintf("no answer from %q in time", name))
	}
	return 0, p.lockedError(errcode.PeerUnreachable, "ping", err.Error())
}
