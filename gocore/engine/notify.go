package engine

import (
	"sync"
	"time"
	"unicode/utf8"

	"mooncake_te/gocore/config"
	"mooncake_te/gocore/control"
	"mooncake_te/gocore/control/controlpb"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// Notification is bytes that a peer sent along with or after its transfers.
type Notification struct {
	Peer    string `json:"peer"`
	Tag     string `json:"tag"`
	Payload []byte `json:"payload_b64"` // encoding/json writes []byte as base64
}

// notifications holds what was received and not taken yet, and remembers recent nonces, so that one that is sent again
// on a new session is not delivered twice.
type notifications struct {
	limit int

	mu    sync.Mutex
	list  []Notification
	held  int // bytes of payload in list
	seen  map[types.InstanceID]*recentNonces
	order []types.InstanceID // of seen, oldest first
}

// notifyHeld bounds the payload of what was received and not taken, in bytes: any peer may send, and none of it is asked for.
const notifyHeld = 64 << 20

// How many nonces of a peer, and how many peers, are remembered.
const (
	nonceMemory = 1024
	peerMemory  = 1024
)

type recentNonces struct {
	set  map[uint64]struct{}
	ring []uint64
	at   int

	waiting int // of this peer, in the list: at most a quarter of it, so that one peer does not fill it for all
}

func newNotifications(limit int) *notifications {
	return &notifications{limit: limit, seen: map[types.InstanceID]*recentNonces{}}
}

func (n *notifications) take() []Notification {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := n.list
	n.list, n.held = nil, 0
	for _, r := range n.seen {
		r.waiting = 0
	}
	return out
}

// receive reports the code to answer with.
func (n *notifications) receive(peer types.InstanceID, nonce uint64, tag string, payload []byte) errcode.Code {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := n.seen[peer]
	if r == nil {
		r = &recentNonces{set: map[uint64]struct{}{}}
		n.seen[peer] = r
		if n.order = append(n.order, peer); len(n.order) > peerMemory {
			delete(n.seen, n.order[0])
			n.order = n.order[1:]
		}
	}
	if _, again := r.set[nonce]; again {
		return errcode.OK
	}
	if len(n.list) >= n.limit || n.held+len(payload) > notifyHeld || r.waiting >= max(n.limit/4, 1) {
		return errcode.ResourceExhausted
	}
	r.waiting++
	r.add(nonce)
	n.held += len(payload)
	n.list = append(n.list, Notification{Peer: peer.String(), Tag: tag, Payload: payload})
	return errcode.OK
}

func (r *recentNonces) add(nonce uint64) {
	if len(r.ring) < nonceMemory {
		r.ring = append(r.ring, nonce)
	} else {
		delete(r.set, r.ring[r.at])
		r.ring[r.at] = nonce
		r.at = (r.at + 1) % nonceMemory
	}
	r.set[nonce] = struct{}{}
}

// notice is a NOTIFY of ours that is not acknowledged yet.
type notice struct {
	event *controlpb.Event
	done  chan error
}

func (n *notice) fail(err error) {
	select {
	case n.done <- err:
	default:
	}
}

// Notify sends bytes to a segment's engine, after a batch if one is given; the task ends with the acknowledgement.
func (e *Engine) Notify(id types.SegmentID, payload []byte, tag string, after Batch, timeout time.Duration) (*Task, error) {
	const op = "notify"
	if err := e.usable(op); err != nil {
		return nil, err
	}
	_, p, err := e.segment(op, id)
	if err != nil {
		return nil, err
	}
	if len(payload) > e.cfg.MaxNotifyBytes {
		return nil, e.errorf(errcode.InvalidArgument, op, "%d bytes, at most %d (max_notify_bytes)", len(payload), e.cfg.MaxNotifyBytes).
			WithHint("notifications are for small messages; write large data into a buffer")
	}
	if !utf8.ValidString(tag) {
		return nil, e.errorf(errcode.InvalidArgument, op, "the tag %q is not UTF-8 text", tag)
	}
	if len(tag) > 256 {
		return nil, e.errorf(errcode.InvalidArgument, op, "the tag has %d bytes, at most 256", len(tag))
	}
	if timeout <= 0 {
		timeout = config.Millis(e.cfg.OpenTimeoutMS)
	}
	payload = append([]byte(nil), payload...) // the caller's memory is only ours during the call
	waits := after != Batch{}
	if waits && !after.enter() { // kept, so that the caller may free it meanwhile
		return nil, freed(op)
	}
	return e.run(func() (any, error) {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		if waits {
			defer after.release()
			select {
			case <-after.slot.doneChannel():
				if err := after.slot.failure(); err != nil {
					return nil, err
				}
			case <-timer.C:
				return nil, p.lockedError(errcode.Deadline, op, "the batch before it did not end in time")
			}
		}
		return nil, p.notify(timer, payload, tag)
	}), nil
}

func (p *peer) notify(timer *time.Timer, payload []byte, tag string) error {
	nonce := randomWord()
	n := &notice{done: make(chan error, 1), event: &controlpb.Event{Kind: &controlpb.Event_Notify{
		Notify: &controlpb.Notify{Nonce: nonce, Payload: payload, Tag: tag},
	}}}
	p.mu.Lock()
	if p.ended {
		defer p.mu.Unlock()
		return p.endErr
	}
	if p.evicted {
		defer p.mu.Unlock()
		return errcode.New(errcode.Closed, "notify", "the segment was closed")
	}
	p.notices[nonce] = n
	p.send(n.event)
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.notices, nonce)
		p.mu.Unlock()
	}()
	select {
	case err := <-n.done:
		return err
	case <-timer.C:
		return p.lockedError(errcode.Deadline, "notify", "the peer did not acknowledge in time")
	case <-p.e.ctx.Done():
		return errcode.New(errcode.Closed, "notify", "the engine was closed")
	}
}

// notified takes a NOTIFY and acknowledges it.
func (e *Engine) notified(s control.Session, n *controlpb.Notify) {
	code := errcode.InvalidArgument
	if len(n.GetPayload()) <= e.cfg.MaxNotifyBytes {
		code = e.notify.receive(s.Peer(), n.GetNonce(), n.GetTag(), n.GetPayload())
	}
	direction := "received"
	if code != errcode.OK {
		direction = "dropped"
	}
	e.metrics.Notifications.WithLabelValues(direction).Inc()
	ack := &controlpb.Event{Kind: &controlpb.Event_NotifyAck{NotifyAck: &controlpb.NotifyAck{Nonce: n.GetNonce(), Code: int32(code)}}}
	if err := s.Send(ack); err != nil {
		e.log.Debug("control message not queued", "peer", s.Peer().Short(), "error", err)
	}
}

// notifyAcked ends a notification of ours. Callers hold mu.
func (p *peer) notifyAcked(a *controlpb.NotifyAck) {
	n := p.notices[a.GetNonce()]
	if n == nil {
		return
	}
	delete(p.notices, a.GetNonce())
	if code := errcode.FromWire(a.GetCode()); code != errcode.OK {
		n.fail(p.error(code, "notify", "the peer did not take the notification").
			WithHint("its queue is full: it must call engine.notifications()"))
		return
	}
	p.e.metrics.Notifications.WithLabelValues("sent").Inc()
	n.fail(nil)
}

// Notifications takes what was received so far.
func (e *Engine) Notifications() []Notification {
	if list := e.notify.take(); list != nil {
		return list
	}
	return []Notification{}
}
