package control

import (
	"context"
	"log/slog"
	"time"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// peer is what a node remembers of one instance. Guarded by Node.mu, but for the mailbox.
type peer struct {
	mail   *mailbox
	chosen *session // possibly ended, while its successor is awaited
	ended  uint64   // highest number of a session dialled by the peer that has ended here
	// changed is closed and replaced whenever a session is chosen.
	changed chan struct{}
	users   int // of changed
}

// maxPeers bounds the memory of instances without a session.
const maxPeers = 8192

func (n *Node) peerLocked(id types.InstanceID) *peer {
	p := n.peers[id]
	if p == nil {
		if len(n.peers) >= maxPeers+n.cfg.MaxSessions {
			n.forgetLocked()
		}
		p = &peer{mail: newMailbox(n.spawn), changed: make(chan struct{})}
		n.peers[id] = p
	}
	return p
}

// forgetLocked drops the memory of instances that have no session. What is lost is `ended`, which saves a retry.
func (n *Node) forgetLocked() {
	for id, p := range n.peers {
		if p.chosen == nil && p.users == 0 && p.mail.idle() {
			delete(n.peers, id)
		}
	}
}

func (n *Node) live(id types.InstanceID) *session {
	if p := n.peers[id]; p != nil && p.chosen != nil && p.chosen.alive() {
		return p.chosen
	}
	return nil
}

func (n *Node) endedNumber(id types.InstanceID) uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := n.peers[id]; p != nil {
		return p.ended
	}
	return 0
}

// mayWin says whether a session with these facts would be chosen now.
func (n *Node) mayWin(id types.InstanceID, f facts) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	cur := n.live(id)
	return cur == nil || prefer(f, cur.facts)
}

// choose makes s the session with its peer if it is better than the present one, whose place it then takes.
func (n *Node) choose(s *session) bool {
	n.mu.Lock()
	if n.closing {
		n.mu.Unlock()
		return false
	}
	p := n.peerLocked(s.peer)
	old := n.live(s.peer)
	if old != nil && !prefer(s.facts, old.facts) {
		n.mu.Unlock()
		return false
	}
	p.chosen = s
	close(p.changed)
	p.changed = make(chan struct{})
	p.mail.change(s, func() {
		n.cfg.Handler.SessionUp(s, s.greeted)
		close(s.up)
	})
	n.mu.Unlock()
	n.cfg.Logger.Info("session up", "peer", s.peer.Short(), "at", s.remote, "number", s.number, "dialled", s.dialled, "replaces", old != nil)
	if old != nil {
		old.replaced()
	}
	return true
}

// sessionEnded is called once by each session that was started, from its end.
func (n *Node) sessionEnded(s *session, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.peers[s.peer]
	if p == nil {
		return
	}
	if !s.dialled {
		p.ended = max(p.ended, s.number)
	}
	if p.chosen != s {
		return
	}
	if isReplaced(err) && !n.closing {
		// The peer has chosen a session whose HELLO or AUTH is still on its way to us. If it never comes, that is a loss.
		n.spawn(func() { n.awaitSuccessor(p, s) })
		return
	}
	n.downLocked(p, s, err)
}

func (n *Node) downLocked(p *peer, s *session, err error) {
	p.chosen = nil
	level := slog.LevelWarn
	if errcode.Of(err) == errcode.Closed {
		level = slog.LevelInfo
	}
	n.cfg.Logger.Log(context.Background(), level, "session down", "peer", s.peer.Short(), "at", s.remote, "number", s.number, "error", err)
	p.mail.change(nil, func() { n.cfg.Handler.SessionDown(s, err) })
}

func (n *Node) awaitSuccessor(p *peer, s *session) {
	t := time.NewTimer(n.cfg.DialTimeout)
	defer t.Stop()
	n.mu.Lock()
	changed := p.changed
	n.mu.Unlock()
	select {
	case <-changed:
	case <-t.C:
	case <-n.ctx.Done():
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if p.chosen == s {
		n.downLocked(p, s, s.err)
	}
}

// watchPeer returns the live session with a peer, if any, and a channel that is closed when the next one is chosen. The
// peer is remembered until release is called.
func (n *Node) watchPeer(id types.InstanceID) (s *session, changed <-chan struct{}, release func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.peerLocked(id)
	p.users++
	return n.live(id), p.changed, func() {
		n.mu.Lock()
		p.users--
		n.mu.Unlock()
	}
}

// awaitSession waits until there is a live session with the peer, or one of the channels is closed; then it returns nil.
func (n *Node) awaitSession(id types.InstanceID, stop, orStop <-chan struct{}) *session {
	for {
		s, changed, release := n.watchPeer(id)
		if s == nil {
			select {
			case <-changed:
			case <-stop:
				release()
				return nil
			case <-orStop:
				release()
				return nil
			}
		}
		release()
		if s != nil {
			return s
		}
	}
}
