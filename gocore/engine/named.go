package engine

import (
	"context"
	"time"

	"mooncake_te/gocore/config"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/types"
)

// Segments that were opened by a name in a metadata store. Each reference on an openName goes with one on the resolver's.

// openNamed looks a name up and waits until it leads to an instance that answers.
func (e *Engine) openNamed(op, name string, noCache bool, timeout time.Duration) (*Task, error) {
	if err := store.CheckName(op, name); err != nil {
		return nil, err
	}
	if timeout <= 0 {
		timeout = config.Millis(e.cfg.OpenTimeoutMS)
	}
	return e.run(func() (any, error) {
		ctx, cancel := context.WithTimeout(e.ctx, timeout)
		defer cancel()
		e.refName(name)
		if err := e.meta.resolver.Open(ctx, name, noCache); err != nil {
			e.dropName(name)
			return nil, err
		}
		e.mu.Lock()
		n := e.meta.names[name]
		if n.peer == nil {
			e.mu.Unlock()
			e.unrefName(name)
			return nil, e.errorf(errcode.Internal, op, "%q was resolved and leads nowhere", name)
		}
		e.lastSeg++
		seg := &segment{id: e.lastSeg, name: name, peer: n.peer, shares: 1}
		e.segments[seg.id] = seg
		n.segments[seg.id] = seg
		if n.shared == nil {
			n.shared = seg
		}
		p := n.peer
		e.mu.Unlock()
		return p.openResult(seg), nil
	}), nil
}

// OpenKnown opens a name that this engine has open already and knows to be fresh, without asking anybody: the handle is
// the one that it has, to be closed once more.
func (e *Engine) OpenKnown(name string) (types.SegmentID, bool) {
	if e.meta == nil {
		return 0, false
	}
	id, fresh := e.meta.resolver.OpenFresh(name)
	if !fresh {
		return 0, false
	}
	e.mu.Lock()
	n := e.meta.names[name]
	if n == nil || n.shared == nil || n.peer == nil || n.peer.instance != id || e.closing {
		e.mu.Unlock()
		e.meta.resolver.Close(name)
		return 0, false
	}
	n.refs++
	n.shared.shares++
	seg := n.shared.id
	e.mu.Unlock()
	return seg, true
}

// refreshNamed asks the store for the name's record and its peer for the descriptor, both anew.
func (e *Engine) refreshNamed(op string, seg *segment, timeout time.Duration) (*Task, error) {
	if timeout <= 0 {
		timeout = config.Millis(e.cfg.OpenTimeoutMS)
	}
	return e.run(func() (any, error) {
		ctx, cancel := context.WithTimeout(e.ctx, timeout)
		defer cancel()
		if err := e.meta.resolver.Refresh(ctx, seg.name); err != nil {
			return nil, err
		}
		e.mu.Lock()
		p, open := seg.peer, e.segments[seg.id] == seg
		e.mu.Unlock()
		if !open {
			return nil, errcode.New(errcode.Closed, op, "the segment was closed meanwhile")
		}
		p.mu.Lock()
		p.segments++
		addrs := p.addrs
		p.mu.Unlock()
		if _, err := e.fetch(ctx, p, addrs); err != nil {
			return nil, e.openError(op, seg.name, timeout, err)
		}
		p.release()
		return p.openResult(seg), nil
	}), nil
}

// SyncReport is what a look at all open names brought.
type SyncReport struct {
	Names  int               `json:"names"`
	Gone   []string          `json:"gone"`   // nothing lies under them any more; sessions go on
	Failed map[string]string `json:"failed"` // could not be looked at, and why
}

// Sync reads all open names anew, by the same road as a watch event.
func (e *Engine) Sync(timeout time.Duration) (*Task, error) {
	const op = "sync names"
	if err := e.usable(op); err != nil {
		return nil, err
	}
	if e.meta == nil {
		return nil, e.errorf(errcode.InvalidArgument, op, "metadata is %q: peer to peer there is no store to look into", e.cfg.Metadata).
			WithHint("refresh the segments themselves")
	}
	if timeout <= 0 {
		timeout = config.Millis(e.cfg.OpenTimeoutMS)
	}
	return e.run(func() (any, error) {
		ctx, cancel := context.WithTimeout(e.ctx, timeout)
		defer cancel()
		report := SyncReport{Gone: []string{}, Failed: map[string]string{}}
		for name, err := range e.meta.resolver.Sync(ctx) {
			report.Names++
			switch errcode.Of(err) {
			case errcode.OK:
			case errcode.SegmentGone, errcode.SegmentNotFound:
				report.Gone = append(report.Gone, name)
			default:
				report.Failed[name] = err.Error()
			}
		}
		return &report, nil
	}), nil
}

func (p *peer) openResult(seg *segment) *OpenResult {
	r := &OpenResult{Segment: seg.id, Name: seg.name, Instance: p.instance.String()}
	p.mu.Lock()
	defer p.mu.Unlock()
	if d := p.view.Descriptor(); d != nil {
		r.Version = d.Version
	}
	return r
}

func (e *Engine) refName(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := e.meta.names[name]
	if n == nil {
		n = &openName{segments: map[types.SegmentID]*segment{}}
		e.meta.names[name] = n
	}
	n.refs++
}

// unrefName gives a reference on a name back, at the resolver and here. In this order: what the resolver knows as bound has
// its peer here.
func (e *Engine) unrefName(name string) {
	e.meta.resolver.Close(name)
	e.dropName(name)
}

func (e *Engine) dropName(name string) {
	e.mu.Lock()
	n := e.meta.names[name]
	n.refs--
	var p *peer
	if n.refs == 0 {
		p = n.peer
		delete(e.meta.names, name)
	}
	e.mu.Unlock()
	if p != nil {
		p.release()
	}
}

// forgetNamed takes a closed handle out of its name. Callers hold Engine.mu.
func (e *Engine) forgetNamed(seg *segment) {
	if e.meta == nil {
		return
	}
	n := e.meta.names[seg.name]
	delete(n.segments, seg.id)
	if n.shared == seg {
		n.shared = nil
		for _, other := range n.segments {
			n.shared = other
			break
		}
	}
}

// checkKnown refuses a new operation on a peer of whom neither a session nor the store has told anything for longer than
// the hard TTL. With a session nothing is looked up.
func (e *Engine) checkKnown(op string, id types.SegmentID, p *peer) error {
	if e.meta == nil || p.self {
		return nil
	}
	p.mu.Lock()
	told := p.session != nil || p.ended // who ended says itself why
	p.mu.Unlock()
	if told {
		return nil
	}
	seg, _, err := e.segment(op, id)
	if err != nil {
		return err
	}
	if _, code := e.meta.resolver.Lookup(seg.name); code != errcode.MetadataUnavailable {
		return nil
	}
	out := p.lockedError(errcode.MetadataUnavailable, op, "neither the peer nor the metadata store has said anything for longer than the hard TTL")
	out.Segment = seg.name
	out.Hint = "check the metadata store and the peer; the operation can be submitted again"
	return out
}
