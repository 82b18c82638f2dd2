package coherence

import (
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

func newTestTransfer(op types.Op, reqs []Request, edit func(*TransferConfig)) *Transfer {
	id := uint64(0)
	cfg := TransferConfig{Op: op, Class: types.Bulk, CRC: true, Trace: 5, NextID: func() uint64 { id++; return id }}
	if edit != nil {
		edit(&cfg)
	}
	return NewTransfer(0, cfg, reqs)
}

// blocks are n requests of size bytes, apart from each other, on IDs 1..ids in turn.
func blocks(n, ids int, size uint64) []Request {
	reqs := make([]Request, n)
	for i := range reqs {
		at := uint64(i) * (size + 64)
		reqs[i] = Request{Local: 1<<20 + at, Remote: types.BufferID(i%ids + 1), Off: at, Len: size}
	}
	return reqs
}

// start posts all there is, on one path.
func start(t *testing.T, tr *Transfer, now types.Time, path types.PathID) []*Post {
	t.Helper()
	var posts []*Post
	for p := tr.NextPost(now); p != nil; p = tr.NextPost(now) {
		tr.Posted(now, p, path)
		posts = append(posts, p)
	}
	require.NoError(t, tr.CheckInvariants())
	return posts
}

var (
	done     = Result{Code: errcode.OK, Sent: true, Answered: true}
	pathLost = Result{Code: errcode.PeerUnreachable, Sent: true, Detail: "connection reset"}
	aborted  = Result{Code: errcode.Canceled, Sent: true, Answered: true}
)

func requireOutcome(t *testing.T, tr *Transfer, outcome types.Outcome, code errcode.Code) {
	t.Helper()
	require.True(t, tr.Final())
	o, c := tr.Outcome()
	require.Equal(t, outcome, o)
	require.Equal(t, code, c)
	require.NoError(t, tr.CheckInvariants())
}

func TestTransferMergesAndCompletes(t *testing.T) {
	reqs := []Request{
		{Local: 1000, Remote: 1, Off: 0, Len: 10}, {Local: 1010, Remote: 1, Off: 10, Len: 5}, // contiguous on both sides
		{Local: 1015, Remote: 1, Off: 99, Len: 5},  // not remotely
		{Local: 1020, Remote: 2, Off: 104, Len: 5}, // another buffer
	}
	tr := newTestTransfer(types.Write, reqs, nil)
	posts := start(t, tr, 0, 7)
	require.Len(t, posts, 1)
	p := posts[0]
	require.Equal(t, []Slice{
		{Local: 1000, Remote: 1, Off: 0, Len: 15, Req: 0, Count: 2},
		{Local: 1015, Remote: 1, Off: 99, Len: 5, Req: 2, Count: 1},
		{Local: 1020, Remote: 2, Off: 104, Len: 5, Req: 3, Count: 1},
	}, p.Slices)
	require.EqualValues(t, 25, p.Bytes)
	require.Equal(t, types.PathID(7), p.Path)
	require.True(t, p.CRC)
	require.EqualValues(t, 5, p.Trace)
	require.Same(t, tr, p.Transfer)
	o, _ := tr.RequestOutcome(0)
	require.Equal(t, types.Pending, o)

	require.Equal(t, []Action{Finished{}}, tr.Result(1, p, done))
	requireOutcome(t, tr, types.Completed, errcode.OK)
	require.Equal(t, []IDCount{{1, 3}, {2, 1}}, tr.TakeQuiet())
	require.Empty(t, tr.TakeQuiet())
	require.True(t, tr.RemoteQuiet() && tr.Settled())
	require.EqualValues(t, 25, tr.BytesDone())
	code, detail := tr.Cause()
	require.Empty(t, code+detail)
	o, _ = tr.RequestOutcome(3)
	require.Equal(t, types.Completed, o)
	_, c := tr.RequestOutcome(4)
	require.Equal(t, errcode.InvalidArgument, c)
}

func TestTransferCutting(t *testing.T) {
	for _, c := range []struct {
		name    string
		reqs    []Request
		streams int
		posts   int
		largest uint64
	}{
		{"small: one post", blocks(4, 1, 1000), 4, 1, 64 << 10},
		{"each stream gets one", blocks(64, 1, 16<<10), 4, 4, 256 << 10},
		{"one large request over the streams", blocks(1, 1, 1<<20), 4, 4, 256 << 10},
		{"at most MaxPostBytes", blocks(1, 1, 33<<20), 2, 9, 4 << 20},
		{"at most MaxPostEntries", blocks(10000, 1, 1), 1, 3, 4096},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := newTestTransfer(types.Read, c.reqs, func(cfg *TransferConfig) { cfg.Streams = c.streams })
			posts := start(t, tr, 0, 1)
			require.Len(t, posts, c.posts)
			sum := uint64(0)
			for _, p := range posts {
				require.LessOrEqual(t, p.Bytes, c.largest)
				sum += p.Bytes
			}
			require.Equal(t, tr.Bytes(), sum)
			for i, p := range posts {
				acts := tr.Result(0, p, done)
				require.Equal(t, i == len(posts)-1, len(acts) == 1)
			}
			quiet := uint64(0)
			for _, q := range tr.TakeQuiet() {
				quiet += q.N
			}
			require.EqualValues(t, tr.Requests(), quiet, "a request of several pieces counts once")
			requireOutcome(t, tr, types.Completed, errcode.OK)
		})
	}
}

func TestTransferReadIsRetriedAtOnce(t *testing.T) {
	tr := newTestTransfer(types.Read, blocks(2, 1, 100), nil)
	p := start(t, tr, 0, 1)[0]
	first := p.ID
	require.Empty(t, tr.Result(0, p, pathLost))
	p = start(t, tr, 0, 2)[0]
	require.NotEqual(t, first, p.ID, "an ID is never used again, also not by a retry")
	require.Equal(t, []Action{Finished{}}, tr.Result(0, p, done))
	requireOutcome(t, tr, types.Completed, errcode.OK)
	require.EqualValues(t, 1, tr.Retries())
	require.EqualValues(t, 2, tr.Posts())
}

func TestTransferWriteIsRetriedOnlyAfterRetired(t *testing.T) {
	tr := newTestTransfer(types.Write, blocks(2, 1, 100), nil)
	p := start(t, tr, 0, 1)[0]
	require.Empty(t, tr.Result(0, p, pathLost))
	require.False(t, tr.HasQueued())
	require.Nil(t, tr.NextPost(0))
	require.Equal(t, 1, tr.Lost())
	require.Empty(t, tr.PathsRetired(1, []types.PathID{2}), "another path")
	require.Nil(t, tr.NextPost(1))
	require.Empty(t, tr.PathsRetired(1, []types.PathID{1}))
	p = start(t, tr, 1, 2)[0]
	require.Empty(t, tr.TakeQuiet())

	// The first try may have applied bytes, so a clean refusal of the second is not NOT_APPLIED.
	refused := Result{Code: errcode.DrainingCode, Sent: true, Answered: true, Detail: "buffer 1 is draining"}
	require.Equal(t, []Action{Finished{}}, tr.Result(1, p, refused))
	requireOutcome(t, tr, types.Unknown, errcode.DrainingCode)
	code, detail := tr.Cause()
	require.Equal(t, "DRAINING", code)
	require.Equal(t, "buffer 1 is draining", detail)
	require.Equal(t, []IDCount{{1, 2}}, tr.TakeQuiet())

	// Not sent: the target has seen nothing, so at once.
	tr = newTestTransfer(types.Write, blocks(1, 1, 100), nil)
	p = start(t, tr, 0, 1)[0]
	require.Empty(t, tr.Result(0, p, Result{Code: errcode.PeerUnreachable}))
	require.Len(t, start(t, tr, 0, 2), 1)

	// RETIRED overtook the result.
	tr = newTestTransfer(types.Write, blocks(1, 1, 100), nil)
	p = start(t, tr, 0, 1)[0]
	require.Empty(t, tr.PathsRetired(0, []types.PathID{1}))
	require.Empty(t, tr.Result(0, p, pathLost))
	require.Len(t, start(t, tr, 0, 2), 1)
}

func TestTransferRetriesEnd(t *testing.T) {
	for _, c := range []struct {
		name    string
		op      types.Op
		r       Result
		tries   int
		outcome types.Outcome
		code    errcode.Code
	}{
		{"lost READ", types.Read, pathLost, 3, types.NotApplied, errcode.PeerUnreachable},
		{"unsent WRITE", types.Write, Result{Code: errcode.PeerUnreachable}, 3, types.NotApplied, errcode.PeerUnreachable},
		{"lost WRITE", types.Write, pathLost, 3, types.Unknown, errcode.PeerUnreachable},
		{"bad READ once more", types.Read, Result{Code: errcode.Checksum, Sent: true, Answered: true}, 2,
			types.NotApplied, errcode.Checksum},
		{"bad READ, told by our own end", types.Read, Result{Code: errcode.Checksum, Sent: true}, 2,
			types.NotApplied, errcode.Checksum},
		{"bad WRITE", types.Write, Result{Code: errcode.Checksum, Sent: true, Answered: true}, 1,
			types.Unknown, errcode.Checksum},
		{"refused WRITE", types.Write, Result{Code: errcode.Revoked, Sent: true, Answered: true}, 1,
			types.NotApplied, errcode.Revoked},
		{"half refused WRITE", types.Write, Result{Code: errcode.Revoked, Sent: true, Answered: true, Applied: 1}, 1,
			types.Unknown, errcode.Revoked},
		{"fault at the target", types.Write, Result{Code: errcode.MemoryFault, Sent: true, Answered: true}, 1,
			types.Unknown, errcode.MemoryFault},
		{"own memory is gone", types.Write, Result{Code: errcode.MemoryFault}, 1, types.NotApplied, errcode.MemoryFault},
		{"another instance", types.Write, Result{Code: errcode.StaleInstance, Sent: true, Answered: true}, 1,
			types.NotApplied, errcode.StaleInstance},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := newTestTransfer(c.op, blocks(3, 2, 100), func(cfg *TransferConfig) { cfg.Retries = 2 })
			var acts []Action
			n := 0
			for ; len(acts) == 0; n++ {
				p := tr.NextPost(0)
				require.NotNil(t, p)
				tr.Posted(0, p, types.PathID(n+1))
				acts = tr.Result(0, p, c.r)
				acts = append(acts, tr.PathsRetired(0, []types.PathID{types.PathID(n + 1)})...)
			}
			require.Equal(t, []Action{Finished{}}, acts)
			require.Equal(t, c.tries, n)
			requireOutcome(t, tr, c.outcome, c.code)
			for i := range 3 {
				o, code := tr.RequestOutcome(i)
				require.Equal(t, c.outcome, o)
				require.Equal(t, c.code, code)
			}
		})
	}
}

func TestTransferCollateralLossIsNotCounted(t *testing.T) {
	tr := newTestTransfer(types.Read, blocks(1, 1, 100), func(cfg *TransferConfig) { cfg.Retries = -1 })
	for i := range 10 {
		p := start(t, tr, 0, types.PathID(i+1))[0]
		require.Empty(t, tr.Result(0, p, Result{Code: errcode.Deadline, Sent: true}), "killed for another batch's deadline (S13)")
	}
	require.Equal(t, []Action{Finished{}}, tr.Result(0, start(t, tr, 0, 99)[0], done))
	requireOutcome(t, tr, types.Completed, errcode.OK)

	tr = newTestTransfer(types.Write, blocks(1, 1, 100), func(cfg *TransferConfig) { cfg.Retries = -1 })
	require.Equal(t, []Action(nil), tr.Result(0, start(t, tr, 0, 1)[0], Result{Code: errcode.Stalled, Sent: true}))
	require.Equal(t, 1, tr.Lost(), "a WRITE waits for RETIRED all the same")
}

func TestTransferPartialFailure(t *testing.T) {
	reqs := blocks(5, 1, 100)
	reqs[2] = Request{Local: reqs[1].Local + 100, Remote: 1, Off: reqs[1].Off + 100, Len: 10} // merged with 1
	tr := newTestTransfer(types.Write, reqs, nil)
	p := start(t, tr, 0, 1)[0]
	require.Len(t, p.Slices, 4)
	r := done
	r.Failed = []SliceResult{{Index: 1, Code: errcode.OutOfBounds}, {Index: 3, Code: errcode.DrainingCode, Applied: 7}}
	require.Equal(t, []Action{Finished{}}, tr.Result(0, p, r))
	requireOutcome(t, tr, types.Partial, errcode.OutOfBounds)
	want := []types.Outcome{types.Completed, types.NotApplied, types.NotApplied, types.Completed, types.Unknown}
	for i, w := range want {
		o, _ := tr.RequestOutcome(i)
		require.Equal(t, w, o, "request %d", i)
	}
	require.EqualValues(t, 200, tr.BytesDone())
	require.Equal(t, []IDCount{{1, 5}}, tr.TakeQuiet())
}

func TestTransferFullTargetPauses(t *testing.T) {
	tr := newTestTransfer(types.Write, blocks(2, 1, 100), nil)
	p := start(t, tr, 0, 1)[0]
	r := done
	r.Failed = []SliceResult{{Index: 1, Code: errcode.ResourceExhausted}}
	require.Empty(t, tr.Result(0, p, r))
	require.True(t, tr.HasQueued())
	require.Nil(t, tr.NextPost(0), "pause")
	wake, ok := tr.NextWake()
	require.True(t, ok)
	require.Positive(t, wake)
	require.LessOrEqual(t, wake, 10*types.Millisecond)
	require.Empty(t, tr.Tick(wake))
	p = tr.NextPost(wake)
	require.NotNil(t, p)
	require.Len(t, p.Slices, 1)
	require.EqualValues(t, 1, p.Slices[0].Req)
	tr.Posted(wake, p, 1)
	require.Equal(t, []Action{Finished{}}, tr.Result(wake, p, done))
	requireOutcome(t, tr, types.Completed, errcode.OK)
}

func TestTransferDeadlineAbortKillRetire(t *testing.T) {
	const ms = types.Millisecond
	tr := newTestTransfer(types.Write, blocks(3, 1, 40<<10), func(cfg *TransferConfig) {
		cfg.Deadline, cfg.MaxPostBytes, cfg.Streams = 1000*ms, 64<<10, 8
	})
	posts := make([]*Post, 2) // the third request stays queued
	for i := range posts {
		posts[i] = tr.NextPost(0)
		tr.Posted(0, posts[i], 1)
	}
	require.Empty(t, tr.Tick(999*ms))
	require.Equal(t, []Action{AbortPost{posts[0]}, AbortPost{posts[1]}}, tr.Tick(1000*ms))
	require.False(t, tr.HasQueued())
	require.Equal(t, []IDCount{{1, 1}}, tr.TakeQuiet())
	require.Empty(t, tr.Cancel(1000*ms, errcode.Canceled), "the first cause stays")
	require.Empty(t, tr.Result(1001*ms, posts[0], aborted))
	wake, _ := tr.NextWake()
	require.Equal(t, 1100*ms, wake)
	require.Equal(t, []Action{KillPath{Path: 1, Cause: errcode.Deadline}}, tr.Tick(wake))
	require.Empty(t, tr.Tick(5000*ms), "not final before local quiet, and killed once")
	require.Empty(t, tr.Result(5000*ms, posts[1], pathLost))
	require.False(t, tr.Final())
	wake, _ = tr.NextWake()
	require.Equal(t, 5200*ms, wake)
	require.Equal(t, []Action{Finished{}}, tr.Tick(wake))
	requireOutcome(t, tr, types.Unknown, errcode.Deadline)
	require.False(t, tr.RemoteQuiet())
	require.False(t, tr.Settled())
	for i, w := range []types.Outcome{types.NotApplied, types.Unknown, types.NotApplied} {
		o, c := tr.RequestOutcome(i)
		require.Equal(t, w, o)
		require.Equal(t, errcode.Deadline, c)
	}
	require.Equal(t, []IDCount{{1, 1}}, tr.TakeQuiet(), "the lost one still counts")
	require.Empty(t, tr.PathsRetired(6000*ms, []types.PathID{1}), "Finished came before")
	require.Equal(t, []IDCount{{1, 1}}, tr.TakeQuiet())
	require.True(t, tr.Settled())
	_, ok := tr.NextWake()
	require.False(t, ok)
}

func TestTransferRetiredWithinGrace(t *testing.T) {
	tr := newTestTransfer(types.Write, blocks(1, 1, 100), nil)
	p := start(t, tr, 0, 1)[0]
	require.Equal(t, []Action{AbortPost{p}}, tr.Cancel(0, errcode.Canceled))
	require.Empty(t, tr.Result(1, p, pathLost))
	require.Equal(t, []Action{Finished{}}, tr.PathsRetired(2, []types.PathID{1}))
	requireOutcome(t, tr, types.Unknown, errcode.Canceled)
	require.True(t, tr.RemoteQuiet())
}

func TestTransferStall(t *testing.T) {
	const s = types.Second
	tr := newTestTransfer(types.Read, blocks(1, 1, 1<<20), func(cfg *TransferConfig) { cfg.Stall = 4 * s })
	posts := start(t, tr, 0, 1)
	now := types.Time(0)
	for range 20 { // bytes move, slowly: no stall
		now, _ = tr.NextWake()
		posts[0].Moved.Add(1)
		require.Empty(t, tr.Tick(now))
	}
	last := now
	var acts []Action
	for len(acts) == 0 {
		now, _ = tr.NextWake()
		acts = tr.Tick(now)
	}
	require.Equal(t, last+4*s, now)
	require.IsType(t, AbortPost{}, acts[0])
	for _, p := range posts {
		tr.Result(now, p, aborted)
	}
	requireOutcome(t, tr, types.NotApplied, errcode.Stalled)
}

func TestTransferCutFailsNothingElse(t *testing.T) {
	tr := newTestTransfer(types.Write, blocks(6, 3, 40<<10), func(cfg *TransferConfig) { cfg.MaxPostBytes, cfg.Streams = 128<<10, 1 })
	p := tr.NextPost(0)
	require.Len(t, p.Slices, 3)
	tr.Posted(0, p, 1)
	require.Equal(t, []Action{AbortPost{p}}, tr.Cut(0, []types.BufferID{2}, errcode.DrainingCode))
	require.Empty(t, tr.Cut(0, []types.BufferID{2}, errcode.DrainingCode), "aborted once")
	require.Equal(t, []IDCount{{2, 1}}, tr.TakeQuiet(), "what was not cut into a post yet")
	require.Empty(t, tr.Result(0, p, aborted))
	require.Equal(t, []IDCount{{2, 1}}, tr.TakeQuiet())
	posts := start(t, tr, 0, 1)
	require.Len(t, posts, 2)
	require.NotSame(t, p, posts[0], "a late abort must not meet another post")
	tr.Result(0, posts[0], done)
	require.Equal(t, []Action{Finished{}}, tr.Result(0, posts[1], done))
	requireOutcome(t, tr, types.Partial, errcode.DrainingCode)
	for i := range 6 {
		o, _ := tr.RequestOutcome(i)
		require.Equal(t, i%3 == 1, o == types.NotApplied)
		require.Equal(t, i%3 != 1, o == types.Completed)
	}
}

func TestTransferCutOfALostWrite(t *testing.T) {
	tr := newTestTransfer(types.Write, blocks(2, 2, 100), nil)
	p := start(t, tr, 0, 1)[0]
	tr.Result(0, p, pathLost)
	require.Empty(t, tr.Cut(0, []types.BufferID{2}, errcode.DrainingCode))
	o, c := tr.RequestOutcome(1)
	require.Equal(t, types.Unknown, o)
	require.Equal(t, errcode.DrainingCode, c)
	require.Empty(t, tr.TakeQuiet(), "it may still land: no promise yet")
	tr.PathsRetired(1, []types.PathID{1})
	require.Equal(t, []IDCount{{2, 1}}, tr.TakeQuiet())
	posts := start(t, tr, 1, 2)
	require.Len(t, posts[0].Slices, 1)
	require.Equal(t, []Action{Finished{}}, tr.Result(1, posts[0], done))
	requireOutcome(t, tr, types.Partial, errcode.DrainingCode)
}

func TestTransferLostAfterCut(t *testing.T) {
	tr := newTestTransfer(types.Write, blocks(2, 2, 100), nil)
	p := start(t, tr, 0, 1)[0]
	require.Equal(t, []Action{AbortPost{p}}, tr.Cut(0, []types.BufferID{1, 2}, errcode.DrainingCode))
	wake, _ := tr.NextWake()
	require.Equal(t, []Action{KillPath{Path: 1, Cause: errcode.DrainingCode}}, tr.Tick(wake))
	require.Empty(t, tr.Result(wake, p, Result{Code: errcode.DrainingCode, Sent: true}))
	for i := range 2 {
		o, c := tr.RequestOutcome(i)
		require.Equal(t, types.Unknown, o, "a second try is not to be had, so there is nothing to wait for")
		require.Equal(t, errcode.DrainingCode, c)
	}
	require.Empty(t, tr.TakeQuiet())
	wake, _ = tr.NextWake()
	require.Equal(t, []Action{Finished{}}, tr.Tick(wake))
	require.False(t, tr.RemoteQuiet())
	tr.PathsRetired(wake, []types.PathID{1})
	require.Equal(t, []IDCount{{1, 1}, {2, 1}}, tr.TakeQuiet())
	require.True(t, tr.Settled())
}

func TestTransferBlockedHalfWay(t *testing.T) {
	reqs := blocks(2, 2, 1<<20)
	tr := newTestTransfer(types.Write, reqs, func(cfg *TransferConfig) { cfg.MaxPostBytes = 256 << 10 })
	p := tr.NextPost(0)
	tr.Posted(0, p, 1)
	require.Zero(t, p.Slices[0].Count)
	require.Empty(t, tr.Blocked(0, 1, errcode.Revoked), "its piece is on the way")
	posts := start(t, tr, 0, 1)
	require.Len(t, posts, 4)
	for _, q := range posts {
		require.EqualValues(t, 2, q.Slices[0].Remote)
		tr.Result(0, q, done)
	}
	require.Equal(t, []Action{Finished{}}, tr.Result(0, p, done))
	requireOutcome(t, tr, types.Partial, errcode.Revoked)
	o, _ := tr.RequestOutcome(0)
	require.Equal(t, types.Unknown, o, "one piece was applied")
	require.Equal(t, []IDCount{{2, 1}, {1, 1}}, tr.TakeQuiet())
}

func TestTransferPeerReplaced(t *testing.T) {
	tr := newTestTransfer(types.Write, blocks(3, 1, 40<<10), func(cfg *TransferConfig) { cfg.MaxPostBytes, cfg.Streams = 64<<10, 8 })
	lost, posted := tr.NextPost(0), (*Post)(nil)
	tr.Posted(0, lost, 1)
	posted = tr.NextPost(0)
	tr.Posted(0, posted, 2)
	tr.Result(0, lost, pathLost)
	require.Equal(t, []Action{AbortPost{posted}}, tr.PeerReplaced(1))
	require.Equal(t, []IDCount{{1, 2}}, tr.TakeQuiet())
	require.Equal(t, []Action{Finished{}}, tr.Result(2, posted, pathLost))
	requireOutcome(t, tr, types.Unknown, errcode.StaleInstance)
	require.True(t, tr.RemoteQuiet())
	o, _ := tr.RequestOutcome(2)
	require.Equal(t, types.NotApplied, o)
}

func TestTransferRequeueAfterStop(t *testing.T) {
	tr := newTestTransfer(types.Write, blocks(1, 1, 100), nil)
	p := tr.NextPost(0)
	require.Empty(t, tr.Cancel(0, errcode.Closed))
	tr.Requeue(p)
	wake, ok := tr.NextWake()
	require.True(t, ok)
	require.Zero(t, wake, "at once")
	require.Equal(t, []Action{Finished{}}, tr.Tick(1))
	requireOutcome(t, tr, types.NotApplied, errcode.Closed)

	tr = newTestTransfer(types.Write, blocks(1, 1, 100), nil)
	p = tr.NextPost(0)
	tr.Cancel(0, errcode.Closed)
	tr.Posted(0, p, 1)
	require.Equal(t, []Action{AbortPost{p}}, tr.Tick(1))
	wake, _ = tr.NextWake()
	require.Equal(t, []Action{KillPath{Path: 1, Cause: errcode.Closed}}, tr.Tick(wake))
	require.Error(t, func() error { tr.Requeue(p); return tr.CheckInvariants() }(), "a caller's slip is told")
}

func TestTransferRequeueKeepsOrder(t *testing.T) {
	tr := newTestTransfer(types.Write, blocks(3, 1, 40<<10), func(cfg *TransferConfig) { cfg.MaxPostBytes, cfg.Streams = 64<<10, 8 })
	var posts []*Post
	for range 3 {
		posts = append(posts, tr.NextPost(0))
	}
	tr.Requeue(posts[1])
	tr.Requeue(posts[2])
	tr.Requeue(posts[0])
	for i, p := range start(t, tr, 0, 1) {
		require.Same(t, posts[i], p)
		require.EqualValues(t, i+1, p.ID)
	}
}

func TestTransferOfAMillion(t *testing.T) {
	reqs := blocks(1<<20, 1, 128)
	tr := newTestTransfer(types.Write, reqs, nil)
	n := uint64(0)
	for {
		p := tr.NextPost(0)
		if p == nil {
			break
		}
		tr.Posted(0, p, 1)
		tr.Result(0, p, done)
		for _, q := range tr.TakeQuiet() {
			n += q.N
		}
	}
	require.EqualValues(t, len(reqs), n)
	require.Nil(t, tr.fails, "no memory per request unless something failed")
	requireOutcome(t, tr, types.Completed, errcode.OK)

	tr = newTestTransfer(types.Write, reqs, nil)
	p := tr.NextPost(0)
	tr.Posted(0, p, 1)
	tr.Cancel(0, errcode.Canceled)
	require.Equal(t, []Action{Finished{}}, tr.Result(0, p, done))
	requireOutcome(t, tr, types.Partial, errcode.Canceled)
	o, c := tr.RequestOutcome(1<<20 - 1)
	require.Equal(t, types.NotApplied, o)
	require.Equal(t, errcode.Canceled, c)
}

func TestTransferSteadyStateDoesNotAllocate(t *testing.T) {
	tr := newTestTransfer(types.Write, blocks(1<<20, 1, 128), nil)
	step := func() {
		a, b := tr.NextPost(0), tr.NextPost(0)
		tr.Posted(0, a, 1)
		tr.Posted(0, b, 2)
		if tr.Result(0, a, done) != nil || tr.Result(0, b, done) != nil || len(tr.TakeQuiet()) != 1 {
			t.Fatal("unexpected")
		}
	}
	step()
	step()
	require.Zero(t, testing.AllocsPerRun(50, step))
}

func BenchmarkTransferBlocks(b *testing.B) {
	reqs := blocks(1<<16, 1, 4096)
	id := uint64(0)
	cfg := TransferConfig{Op: types.Write, NextID: func() uint64 { id++; return id }}
	b.ReportAllocs()
	for b.Loop() {
		tr := NewTransfer(0, cfg, reqs)
		for p := tr.NextPost(0); p != nil; p = tr.NextPost(0) {
			tr.Posted(0, p, 1)
			tr.Result(0, p, done)
			tr.TakeQuiet()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(reqs)), "ns/request")
}
