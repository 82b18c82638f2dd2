package engine

import (
	"context"
	"errors"
	"sync"
	"time"

	"mooncake_te/gocore/control"
	"mooncake_te/gocore/control/controlpb"
	"mooncake_te/gocore/types"
)

// selfSession makes an engine its own peer: what it sends comes back to it, in order and from another goroutine. So the
// protocol of grants, drains and tokens is the same with oneself as with anybody.
type selfSession struct {
	e     *Engine
	hello *controlpb.Hello
	since time.Time

	mu     sync.Mutex
	queue  []*controlpb.Event
	wake   chan struct{}
	closed bool
}

// attachSelf brings the session with oneself up.
func (e *Engine) attachSelf(p *peer) {
	s := &selfSession{
		e: e, since: time.Now(), wake: make(chan struct{}, 1),
		hello: &controlpb.Hello{Instance: e.instance[:], Name: e.cfg.Name, Addresses: e.addresses(), DataAddresses: e.server.Addresses()},
	}
	e.SessionUp(s, s.hello)
	e.spawn(s.loop)
}

func (s *selfSession) loop() {
	for {
		s.mu.Lock()
		batch := s.queue
		s.queue = nil
		closed := s.closed
		s.mu.Unlock()
		if closed {
			return
		}
		for _, ev := range batch {
			s.e.Event(s, ev)
		}
		if len(batch) > 0 {
			continue
		}
		select {
		case <-s.wake:
		case <-s.e.ctx.Done():
			return
		}
	}
}

func (s *selfSession) Send(ev *controlpb.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.New("the session with oneself is closed")
	}
	s.queue = append(s.queue, ev)
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return nil
}

func (s *selfSession) Close(error) {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *selfSession) Peer() types.InstanceID                      { return s.e.instance }
func (s *selfSession) Hello() *controlpb.Hello                     { return s.hello }
func (s *selfSession) Ping(context.Context) (time.Duration, error) { return 0, nil }
func (s *selfSession) Number() uint64                              { return 1 }
func (s *selfSession) Dialled() bool                               { return true }
func (s *selfSession) RemoteAddr() string                          { return "self" }
func (s *selfSession) Since() time.Time                            { return s.since }
func (s *selfSession) LastHeard() time.Time                        { return time.Now() }

var _ control.Session = (*selfSession)(nil)
