package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"mooncake_te/gocore/errcode"
)

// Batch is transfer requests submitted together, in one direction with one peer. The engine keeps it until it is final;
// the caller keeps it until Free. It is a small value, {slot, generation}, that may be copied, compared and kept for any
// time: after Free it names nothing, also when its slot is used by another batch, and what is asked of it fails with
// CLOSED. The zero Batch is one that was freed.
type Batch struct {
	slot       *Slot
	generation uint64
}

// Split gives the two words of a batch, for a table that stores them without memory of their own.
func (b Batch) Split() (*Slot, uint64) { return b.slot, b.generation }

// BatchOf is the inverse of Split.
func BatchOf(slot *Slot, generation uint64) Batch { return Batch{slot, generation} }

// enter takes a reference to the batch; release gives it back.
func (b Batch) enter() bool { return b.slot != nil && b.slot.life.enter(b.generation) }

func (b Batch) release() { b.slot.release(1) }

func freed(op string) error {
	return errcode.New(errcode.Closed, op, "the batch was freed").WithHint("ask before Free")
}

// Wait reports whether the batch got final within the timeout; 0 only looks. A batch never ends by waiting. One that was
// freed is final.
func (b Batch) Wait(timeout time.Duration) bool {
	if !b.enter() {
		return true
	}
	defer b.release()
	return b.slot.wait(timeout)
}

// Done is closed once the batch is final. Unlike Wait it allocates.
func (b Batch) Done() <-chan struct{} {
	if !b.enter() {
		return over
	}
	defer b.release()
	return b.slot.doneChannel()
}

// StatusAddr is where te_batch_status lies; 0 once freed.
func (b Batch) StatusAddr() uint64 {
	if !b.enter() {
		return 0
	}
	defer b.release()
	return b.slot.addr
}

// Engine is the one it was submitted to; nil once freed.
func (b Batch) Engine() *Engine {
	if !b.enter() {
		return nil
	}
	defer b.release()
	return b.slot.peer.e
}

// Arm makes the engine's eventfd fire when the batch gets final, at once if it is.
func (b Batch) Arm() error {
	if !b.enter() {
		return freed("arm batch")
	}
	defer b.release()
	b.slot.armed.Store(true)
	b.slot.rouse()
	if b.slot.ended.Load() {
		b.slot.peer.e.wake.signal()
	}
	return nil
}

// Cancel asks to give up; the batch ends by itself, soon.
func (b Batch) Cancel() error {
	if !b.enter() {
		return freed("cancel batch")
	}
	defer b.release()
	b.slot.cancel(errcode.Canceled, "cancelled by the caller")
	return nil
}

// Err is nil for a COMPLETED batch, else the typed reason. Only for final batches.
func (b Batch) Err() error {
	if !b.enter() {
		return freed("batch error")
	}
	defer b.release()
	return b.slot.failure()
}

// Outcomes fills in the outcome and cause of requests [first, first+n); either slice may be nil.
func (b Batch) Outcomes(first, n uint64, outcomes []uint8, causes []int32) error {
	const op = "batch outcomes"
	if !b.enter() {
		return freed(op)
	}
	defer b.release()
	b.slot.peer.mu.Lock()
	defer b.slot.peer.mu.Unlock()
	t := b.slot.t
	total := uint64(t.Requests())
	if first > total || n > total-first {
		return errcode.New(errcode.InvalidArgument, op, fmt.Sprintf("requests %d .. +%d of %d", first, n, total))
	}
	for i := range n {
		outcome, cause := t.RequestOutcome(int(first + i))
		if outcomes != nil {
			outcomes[i] = uint8(outcome)
		}
		if causes != nil {
			causes[i] = int32(cause)
		}
	}
	return nil
}

// Free gives a final batch and its status words back. From then on nothing can be asked of it. Freeing it again does
// nothing.
func (b Batch) Free() error {
	if !b.enter() {
		return nil
	}
	if !b.slot.ended.Load() {
		b.release()
		return errcode.New(errcode.InvalidArgument, "free batch", "the batch is not final").WithHint("wait for it, or cancel it first")
	}
	if !b.slot.life.free() {
		b.release()
		return nil
	}
	b.slot.peer.e.status.put(b.slot.addr)
	b.slot.release(2) // the one just taken, and the caller's
	return nil
}

// Explanation says which way a batch went and why.
type Explanation struct {
	Op          string         `json:"op"`
	Path        string         `json:"path"` // the kind most posts took
	Posts       map[string]int `json:"posts"`
	Why         string         `json:"why"`
	Retries     uint64         `json:"retries"`
	Requests    int            `json:"requests"`
	BytesTotal  uint64         `json:"bytes_total"`
	BytesDone   uint64         `json:"bytes_done"`
	Outcome     string         `json:"outcome"`
	Cause       string         `json:"cause"`
	RemoteQuiet bool           `json:"remote_quiet"`
	Peer        string         `json:"peer"`
	WaitingFor  string         `json:"waiting_for,omitempty"`
	Error       *errcode.Error `json:"error,omitempty"`
}

// ExplainJSON may be asked at any time before Free.
func (b Batch) ExplainJSON() ([]byte, error) {
	if !b.enter() {
		return nil, freed("explain batch")
	}
	defer b.release()
	s, p := b.slot, b.slot.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	outcome, cause := s.t.Outcome()
	x := Explanation{
		Op: s.op.String(), Posts: map[string]int{}, Retries: s.t.Retries(), Requests: s.t.Requests(),
		BytesTotal: s.t.Bytes(), BytesDone: s.t.BytesDone(), Outcome: outcome.String(), Cause: cause.String(),
		RemoteQuiet: s.t.RemoteQuiet(), Peer: p.instance.String(), Why: p.why(),
	}
	most := 0
	for _, u := range s.paths {
		if x.Posts[u.kind] = u.posts; u.posts > most {
			x.Path, most = u.kind, u.posts
		}
	}
	if s.err != nil {
		errors.As(s.err, &x.Error)
	}
	if !s.final {
		x.WaitingFor = p.waitingFor(s)
	}
	return json.Marshal(x)
}
