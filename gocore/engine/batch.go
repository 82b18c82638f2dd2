package engine

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// Batch is transfer requests submitted together, in one direction with one peer. The engine keeps it until it is final;
// the caller keeps it until Free.
type Batch struct {
	e      *Engine
	peer   *peer
	t      *coherence.Transfer // under peer.mu
	op     types.Op
	locals []*registration // whose local gates this batch is inside
	words  *statusWords
	addr   uint64
	done   chan struct{}
	armed  atomic.Bool
	freed  atomic.Bool
	begun  time.Time

	// Under peer.mu.
	bound   types.Version           // oldest metadata the remote buffers were resolved from
	remotes []remoteUse             // distinct remote buffers, in the order of their IDs
	one     [1]remoteUse            // memory for the usual batch, which uses one
	waiting map[types.BufferID]bool // not resolved yet
	reqs    []coherence.Request     // until all remote buffers are resolved
	memory  *requests               // that reqs lie in
	paths   []pathUse               // for explain
	settled bool                    // nothing is owed to the View any more
	err     error                   // once final
	final   bool
}

// remoteUse is how often a batch uses a remote buffer.
type remoteUse struct {
	id      types.BufferID
	n       uint64
	entered uint64 // what of it counts on the View's gate
}

// pathUse is how many posts of a batch went one kind of way.
type pathUse struct {
	kind  string
	posts int
}

// requests is memory for those of one batch, used again when the batch is settled.
type requests struct{ list []coherence.Request }

var requestLists = sync.Pool{New: func() any { return new(requests) }}

// entered is what counts on the View's gate of a remote buffer; nil for one that the batch does not use.
func (b *Batch) entered(id types.BufferID) *uint64 {
	i, ok := slices.BinarySearchFunc(b.remotes, id, func(u remoteUse, id types.BufferID) int { return cmp.Compare(u.id, id) })
	if !ok {
		return nil
	}
	return &b.remotes[i].entered
}

// went counts a post.
func (b *Batch) went(kind string) {
	for i := range b.paths {
		if b.paths[i].kind == kind {
			b.paths[i].posts++
			return
		}
	}
	b.paths = append(b.paths, pathUse{kind, 1})
}

// Wait reports whether the batch got final within the timeout; 0 only looks. A batch never ends by waiting.
func (b *Batch) Wait(timeout time.Duration) bool { return waitFor(b.done, timeout) }

// Done is closed once the batch is final.
func (b *Batch) Done() <-chan struct{} { return b.done }

// StatusAddr is where te_batch_status lies.
func (b *Batch) StatusAddr() uint64 { return b.addr }

// Arm makes the engine's eventfd fire when the batch gets final, at once if it is.
func (b *Batch) Arm() {
	b.armed.Store(true)
	if b.Wait(0) {
		b.e.wake.signal()
	}
}

// Cancel asks to give up; the batch ends by itself, soon.
func (b *Batch) Cancel() { b.cancel(errcode.Canceled, "cancelled by the caller") }

func (b *Batch) cancel(code errcode.Code, detail string) {
	p := b.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	if b.final {
		return
	}
	if b.err == nil {
		err := p.error(code, b.op.String(), detail)
		err.Hint = "" // it was our own side that ended it
		if code == errcode.DrainingCode {
			err.Hint = "the local buffer was closed while the transfer was under way: wait for transfers first"
		}
		b.err = err
	}
	p.runFor(b.t, b.t.Cancel(p.e.now(), code))
	p.settle(b)
	p.pump()
}

// Err is nil for a COMPLETED batch, else the typed reason. Only for final batches.
func (b *Batch) Err() error {
	b.peer.mu.Lock()
	defer b.peer.mu.Unlock()
	return b.err
}

// Outcomes fills in the outcome and cause of requests [first, first+n); either slice may be nil.
func (b *Batch) Outcomes(first, n uint64, outcomes []uint8, causes []int32) error {
	b.peer.mu.Lock()
	defer b.peer.mu.Unlock()
	total := uint64(b.t.Requests())
	if first > total || n > total-first {
		return errcode.New(errcode.InvalidArgument, "batch outcomes", fmt.Sprintf("requests %d .. +%d of %d", first, n, total))
	}
	for i := range n {
		outcome, cause := b.t.RequestOutcome(int(first + i))
		if outcomes != nil {
			outcomes[i] = uint8(outcome)
		}
		if causes != nil {
			causes[i] = int32(cause)
		}
	}
	return nil
}

// Free gives a final batch's status words back.
func (b *Batch) Free() error {
	if !b.Wait(0) {
		return errcode.New(errcode.InvalidArgument, "free batch", "the batch is not final").WithHint("wait for it, or cancel it first")
	}
	if b.freed.CompareAndSwap(false, true) {
		b.e.status.put(b.addr)
	}
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

// ExplainJSON may be asked at any time.
func (b *Batch) ExplainJSON() ([]byte, error) {
	p := b.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	outcome, cause := b.t.Outcome()
	x := Explanation{
		Op: b.op.String(), Posts: map[string]int{}, Retries: b.t.Retries(), Requests: b.t.Requests(),
		BytesTotal: b.t.Bytes(), BytesDone: b.t.BytesDone(), Outcome: outcome.String(), Cause: cause.String(),
		RemoteQuiet: b.t.RemoteQuiet(), Peer: p.instance.String(), Why: p.why(),
	}
	most := 0
	for _, u := range b.paths {
		if x.Posts[u.kind] = u.posts; u.posts > most {
			x.Path, most = u.kind, u.posts
		}
	}
	if b.err != nil {
		errors.As(b.err, &x.Error)
	}
	if !b.final {
		x.WaitingFor = p.waitingFor(b)
	}
	return json.Marshal(x)
}

// finish makes the batch final. Callers hold peer.mu; local memory is quiet by the Transfer's word.
func (b *Batch) finish() {
	if b.final {
		return
	}
	b.final = true
	b.peer.unfinished--
	outcome, cause := b.t.Outcome()
	if outcome == types.Completed {
		b.err = nil
	} else if _, detail := b.t.Cause(); b.err == nil || errcode.Of(b.err) != cause {
		b.err = b.peer.error(cause, b.op.String(), detail)
	}
	m := b.e.metrics
	m.Batches.WithLabelValues(b.op.String(), outcome.String()).Inc()
	m.Requests.WithLabelValues(b.op.String(), outcome.String()).Add(float64(b.t.Requests()))
	m.BatchSeconds.WithLabelValues(b.op.String()).Observe(time.Since(b.begun).Seconds())
	if outcome != types.Completed {
		m.Errors.WithLabelValues(cause.String()).Inc()
	}
	if r := b.t.Retries(); r > 0 {
		m.PostRetries.Add(float64(r))
	}
	b.reqs = nil
	b.peer.stopWaiting(b)
	b.peer.sched.Remove(b.t)
	leaveAll(b.locals)
	b.words.final(outcome, cause, b.t.RemoteQuiet(), b.t.BytesDone())
	close(b.done)
	if b.armed.Load() {
		b.e.wake.signal()
	}
	b.e.forgetBatch(b, b.t.Requests())
}
