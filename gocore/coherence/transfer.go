package coherence

import (
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// Request is one piece of work of a batch: Len bytes between local memory at Local and offset Off of a peer's buffer.
// The array of them is given by the caller, is only read, and must not change before the batch is final.
type Request struct {
	Local  uint64
	Remote types.BufferID
	Off    uint64
	Len    uint64
}

// TransferConfig configures a Transfer. Zero values mean the defaults named here.
type TransferConfig struct {
	Op    types.Op
	Class types.Class
	CRC   bool
	Trace uint32
	// Deadline is absolute on the Time axis; 0 = none.
	Deadline types.Time
	// Stall ends a batch that made no progress for so long; default 30 s. Waiting for a path is no progress.
	Stall types.Time
	// AbortGrace is how long an abort may stay unanswered before its path is killed; default 100 ms.
	AbortGrace types.Time
	// RetireGrace is how long the end of a batch waits for RETIRED before it ends with RemoteQuiet false; default 200 ms.
	RetireGrace types.Time
	// MaxPostBytes and MaxPostEntries bound one post; default 4 MiB and 4096.
	MaxPostBytes   uint64
	MaxPostEntries int
	// Streams is over how many paths a large batch is cut; default 2.
	Streams int
	// Retries of one post after losses; default 3, negative = none. What is no fault of the path (a full target, a path
	// killed for somebody else's sake) is retried without being counted; the stall deadline bounds it.
	Retries int
	// Pool keeps posts between batches, because a slice for each block is most of what a batch allocates; nil = none is
	// kept. What is put there is known to no path and no Transfer any more.
	Pool PostPool
	// NextID gives post IDs, growing, never 0, unique in the engine.
	NextID func() uint64
}

// PostPool gives posts with any contents and takes them back.
type PostPool interface {
	Get() *Post
	Put(*Post)
}

const (
	minPostBytes = 64 << 10
	pauseMin     = 2 * types.Millisecond
	pauseMax     = 100 * types.Millisecond
)

func (c *TransferConfig) setDefaults() {
	if c.Stall <= 0 {
		c.Stall = 30 * types.Second
	}
	if c.AbortGrace <= 0 {
		c.AbortGrace = 100 * types.Millisecond
	}
	if c.RetireGrace <= 0 {
		c.RetireGrace = 200 * types.Millisecond
	}
	if c.MaxPostBytes == 0 {
		c.MaxPostBytes = 4 << 20
	}
	if c.MaxPostEntries <= 0 {
		c.MaxPostEntries = 4096
	}
	if c.Streams <= 0 {
		c.Streams = 2
	}
	switch {
	case c.Retries == 0:
		c.Retries = 3
	case c.Retries < 0:
		c.Retries = 0
	}
	if c.NextID == nil {
		panic("coherence: TransferConfig.NextID must be set")
	}
}

// IDCount counts requests on one ID.
type IDCount struct {
	ID types.BufferID
	N  uint64
}

// failure is what became of a request that was not completed. The array of them is made at the first failure.
type failure struct {
	outcome types.Outcome
	code    errcode.Code
}

// Transfer decides the life of one batch: one peer, one direction. Requests are cut into posts one at a time, as there
// is room for them, so that a batch of a million costs no more at a time than its window.
//
// A request is, in this order: uncut (at or behind the cursor), in a post (queued, out at the caller, posted, or lost and
// waiting for RETIRED), ended (it has its outcome), quiet (nothing of it can land any more; told once by TakeQuiet).
type Transfer struct {
	cfg    TransferConfig
	reqs   []Request
	count  int    // of them
	total  uint64 // bytes
	target uint64 // bytes of one post

	cur    int    // first request that is not cut in full
	curOff uint64 // bytes of it that are
	uncut  int    // requests that are not cut in full and have not ended
	seq    uint64 // of the last post made

	queue  []*Post // to be posted (again), by seq
	out    int     // posts handed to the caller and neither Posted nor Requeued
	posted []*Post
	lost   []*Post // WRITEs that may still land: wait for their path to be retired
	free   []*Post

	split   map[uint32]split // requests of several pieces that are not quiet
	blocked map[types.BufferID]errcode.Code

	open     int // requests without outcome
	ended    [types.Unknown + 1]int
	fails    []failure
	bytes    uint64
	quiet    []IDCount
	taken    []IDCount // the array TakeQuiet gave out last
	over     errcode.Code
	replaced bool
	finished bool

	cause  errcode.Code // of the first failure
	detail string
	why    string // detail of the event being worked on

	progressAt types.Time
	sampledAt  types.Time
	pause      types.Time
	pauseUntil types.Time
	graceUntil types.Time
	inGrace    bool
	aborting   int // posted posts under abort that are not killed yet

	posts   uint64
	retries uint64
	misuse  string

	sched schedState
}

// NewTransfer makes the machine of one batch. The requests were validated: lengths above 0, no wrap, permission and
// bounds, and each was entered on its ID's gate.
func NewTransfer(now types.Time, cfg TransferConfig, reqs []Request) *Transfer {
	t := new(Transfer)
	t.Begin(now, cfg, reqs)
	return t
}

// Begin makes a new or used Transfer the machine of a batch, as NewTransfer does, and keeps the memory of its lists. A
// used one must be Settled, in no Scheduler, and known to nobody who might feed it something of the batch before.
func (t *Transfer) Begin(now types.Time, cfg TransferConfig, reqs []Request) {
	cfg.setDefaults()
	clear(t.split)
	*t = Transfer{
		cfg: cfg, reqs: reqs, count: len(reqs), uncut: len(reqs), open: len(reqs), progressAt: now, sampledAt: now,
		queue: emptied(t.queue), posted: emptied(t.posted), lost: emptied(t.lost), free: emptied(t.free),
		quiet: emptied(t.quiet), taken: emptied(t.taken), split: t.split,
	}
	for i := range reqs {
		t.total += reqs[i].Len
	}
	t.target = min(max(t.total/uint64(cfg.Streams), minPostBytes), cfg.MaxPostBytes)
}

// maxKept is how many entries a list may have room for and still be kept for the next batch: one that used many buffers
// must not be remembered for ever.
const maxKept = 1024

// emptied is the memory of a list for other entries. It refers to nothing any more.
func emptied[T any](list []T) []T {
	if cap(list) > maxKept {
		return nil
	}
	list = list[:cap(list)]
	clear(list)
	return list[:0]
}

// Op is the direction.
func (t *Transfer) Op() types.Op { return t.cfg.Op }

// Class is how it shares paths with others.
func (t *Transfer) Class() types.Class { return t.cfg.Class }

// Bytes is the sum of all requests' lengths.
func (t *Transfer) Bytes() uint64 { return t.total }

// BytesDone is the sum of what completed.
func (t *Transfer) BytesDone() uint64 { return t.bytes }

// Requests is how many there are.
func (t *Transfer) Requests() int { return t.count }

// Posts counts what was posted, Retries those that were queued again.
func (t *Transfer) Posts() uint64 { return t.posts }

// Retries counts posts that were queued again after they had been posted.
func (t *Transfer) Retries() uint64 { return t.retries }

// InFlight counts posts whose result has not come.
func (t *Transfer) InFlight() int { return len(t.posted) }

// Lost counts posts of WRITEs that may still land, because their path was lost and is not retired yet.
func (t *Transfer) Lost() int { return len(t.lost) }

// Final reports whether the batch has ended and its local memory is quiet. Finished was, or is just being, returned.
func (t *Transfer) Final() bool { return t.finished }

// RemoteQuiet reports whether the batch is final and nothing of it can land in the peer's memory any more.
func (t *Transfer) RemoteQuiet() bool { return t.finished && len(t.lost) == 0 }

// Settled reports whether nothing is owed any more: final, and PathsRetired came for whatever was lost. Until then the
// Transfer must be kept and fed PathsRetired, because its requests count on their gates. Call TakeQuiet first.
func (t *Transfer) Settled() bool { return t.RemoteQuiet() && t.out == 0 }

// ReleaseRequests lets go of the array that Begin was given, for the next batch. Only of a Transfer that is Settled
// and is fed nothing any more; it may still be asked.
func (t *Transfer) ReleaseRequests() {
	if !t.Settled() {
		t.misused("ReleaseRequests before the Transfer is settled")
		return
	}
	t.reqs = nil
}

// Outcome of the batch and the cause of its first failure; Pending until it is final.
func (t *Transfer) Outcome() (types.Outcome, errcode.Code) {
	switch n := t.count; {
	case !t.finished:
		return types.Pending, t.cause
	case t.ended[types.Completed] == n:
		return types.Completed, errcode.OK
	case t.ended[types.NotApplied] == n:
		return types.NotApplied, t.cause
	case t.ended[types.Completed] > 0:
		return types.Partial, t.cause
	}
	return types.Unknown, t.cause
}

// Cause names the code of the first failure and says what the path or the target said about it; empty without one.
func (t *Transfer) Cause() (code, detail string) {
	if t.cause == errcode.OK {
		return "", ""
	}
	return t.cause.String(), t.detail
}

// RequestOutcome is what became of request i. One that completed is told as Pending until all have ended: memory is
// spent on failures only.
func (t *Transfer) RequestOutcome(i int) (types.Outcome, errcode.Code) {
	switch {
	case i < 0 || i >= t.count:
		return types.Pending, errcode.InvalidArgument
	case t.fails != nil && t.fails[i].outcome != types.Pending:
		return t.fails[i].outcome, t.fails[i].code
	case t.open == 0:
		return types.Completed, errcode.OK
	}
	return types.Pending, errcode.OK
}

// TakeQuiet tells which requests became remotely quiet since the last call, for View.Leave. The array is good until the
// next call. An ID may occur more than once.
func (t *Transfer) TakeQuiet() []IDCount {
	t.taken, t.quiet = t.quiet, t.taken[:0]
	return t.taken
}
