package engine

import (
	"encoding/json"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"mooncake_te/gocore/config"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/mem"
	"mooncake_te/gocore/types"
)

func TestMain(m *testing.M) {
	if _, ok := os.LookupEnv(helperEnv); ok {
		runHelper()
	}
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for something that must happen; it only matters when it does not.
const patience = 60 * time.Second

// rig is one engine of a test with memory of its own.
type rig struct {
	*Engine
	t *testing.T
}

func newRig(t *testing.T, change ...func(*config.Config)) *rig {
	t.Helper()
	cfg := config.Default()
	cfg.HeartbeatMS = 200
	cfg.LogLevel = "error"
	for _, f := range change {
		f(&cfg)
	}
	e, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(e.Destroy)
	return &rig{Engine: e, t: t}
}

func (r *rig) address() string { return r.Info().Addresses[0] }

// buffer allocates and registers n bytes.
type buffer struct {
	id    types.BufferID
	addr  uint64
	bytes []byte
}

func (r *rig) alloc(n int) buffer {
	r.t.Helper()
	addr, err := r.Allocate(uint64(n))
	require.NoError(r.t, err)
	return buffer{addr: addr, bytes: mem.Bytes(addr, n)}
}

func (r *rig) buffer(n int, remote types.Remote) buffer {
	r.t.Helper()
	b := r.alloc(n)
	b.id = r.register(b, remote)
	return b
}

func (r *rig) register(b buffer, remote types.Remote) types.BufferID {
	r.t.Helper()
	ids, err := r.Register([]Registration{{
		Address: b.addr, Length: uint64(len(b.bytes)), Remote: remote, Perm: types.PermReadWrite, Writable: true,
	}})
	require.NoError(r.t, err)
	return ids[0]
}

func (r *rig) open(name string) types.SegmentID {
	r.t.Helper()
	task, err := r.Open(name, patience)
	require.NoError(r.t, err)
	return r.opened(task)
}

func (r *rig) opened(task *Task) types.SegmentID {
	r.t.Helper()
	require.True(r.t, task.Wait(patience))
	require.NoError(r.t, task.Err())
	return task.result.(*OpenResult).Segment
}

// one is a submission of a single request.
func one(op types.Op, seg types.SegmentID, local, remote types.BufferID, loff, roff, n uint64) *Submission {
	return &Submission{
		Op: op, Segment: seg, LocalIDs: []uint64{uint64(local)}, RemoteIDs: []uint64{uint64(remote)},
		LocalOffs: []uint64{loff}, RemoteOffs: []uint64{roff}, Lens: []uint64{n},
	}
}

func (r *rig) submit(s *Submission) Batch {
	r.t.Helper()
	b, err := r.Submit(s)
	require.NoError(r.t, err)
	return b
}

// finish waits for a batch and returns its error.
func (r *rig) finish(b Batch) error {
	r.t.Helper()
	if !b.Wait(patience) {
		x, _ := b.ExplainJSON()
		r.t.Fatalf("batch does not end: %s", x)
	}
	err := b.Err()
	require.NoError(r.t, b.Free())
	return err
}

// bytesDone is of a batch that was not freed.
func bytesDone(b Batch) uint64 { return atomic.LoadUint64(&b.slot.words.bytesDone) }

func (r *rig) must(s *Submission) {
	r.t.Helper()
	require.NoError(r.t, r.finish(r.submit(s)))
}

func (r *rig) drained(ids []types.BufferID, within time.Duration) *DrainResult {
	r.t.Helper()
	task, err := r.Drain(ids, within)
	require.NoError(r.t, err)
	require.True(r.t, task.Wait(patience), "drain does not end")
	require.NoError(r.t, task.Err())
	return task.result.(*DrainResult)
}

func (r *rig) statusNow() Status {
	r.t.Helper()
	text, err := r.StatusJSON()
	require.NoError(r.t, err)
	require.True(r.t, json.Valid(text))
	return r.Status()
}

func requireCode(t *testing.T, want errcode.Code, err error) {
	t.Helper()
	require.Equal(t, want.String(), errcode.Of(err).String(), "error: %v", err)
}

// pattern fills memory so that a misplaced byte shows where it came from.
func pattern(b []byte, seed byte) {
	for i := range b {
		b[i] = seed ^ byte(i) ^ byte(i>>8)*31 ^ byte(i>>16)*17
	}
}

func patterned(n int, seed byte) []byte {
	b := make([]byte, n)
	pattern(b, seed)
	return b
}

func splitLines(s string) []string { return strings.Split(s, "\n") }
func contains(s, sub string) bool  { return strings.Contains(s, sub) }
