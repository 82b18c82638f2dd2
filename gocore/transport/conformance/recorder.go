package conformance

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/transport"
	"mooncake_te/gocore/types"
)

// Patience is how long a test waits for what must come. It bounds a hang and is no timing assertion.
const Patience = 60 * time.Second

// Recorder is a Sink that counts and keeps what it is told.
type Recorder struct {
	mu      sync.Mutex
	cond    *sync.Cond
	results map[*transport.Post][]transport.Result
	down    []error
	late    int // PostDone after PathDown
	seen    []*transport.Post
}

// NewRecorder makes a Sink.
func NewRecorder() *Recorder {
	r := &Recorder{results: map[*transport.Post][]transport.Result{}}
	r.cond = sync.NewCond(&r.mu)
	return r
}

// PostDone records a result.
func (r *Recorder) PostDone(_ transport.Path, p *transport.Post, res transport.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.results[p] = append(r.results[p], res)
	r.seen = append(r.seen, p)
	if len(r.down) > 0 {
		r.late++
	}
	r.cond.Broadcast()
}

// PathDown records the end of the path.
func (r *Recorder) PathDown(_ transport.Path, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = append(r.down, err)
	r.cond.Broadcast()
}

// until waits for a condition on the record.
func (r *Recorder) until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	expired := false
	timer := time.AfterFunc(Patience, func() {
		r.mu.Lock()
		expired = true
		r.mu.Unlock()
		r.cond.Broadcast()
	})
	defer timer.Stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	for !cond() && !expired {
		r.cond.Wait()
	}
	require.True(t, cond(), "never came: %s", what)
}

// Wait waits for a post's result.
func (r *Recorder) Wait(t testing.TB, p *transport.Post) transport.Result {
	t.Helper()
	r.until(t, "the result of a post", func() bool { return len(r.results[p]) > 0 })
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.results[p][0]
}

// WaitDown waits for the end of the path.
func (r *Recorder) WaitDown(t testing.TB) error {
	t.Helper()
	r.until(t, "the end of the path", func() bool { return len(r.down) > 0 })
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.down[0]
}

// Results are all results of a post so far.
func (r *Recorder) Results(p *transport.Post) []transport.Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.results[p]
}

// order is when a post was reported.
func (r *Recorder) order(p *transport.Post) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Index(r.seen, p)
}

// forget drops the record of a post that was given to a path after its end.
func (r *Recorder) forget(p *transport.Post) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.results, p)
	r.late--
}

// allowLate forgives results after the end of the path, for posts that were given to it after its end.
func (r *Recorder) allowLate() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.late = 0
}

// RequireExact checks the accounting: each post given was reported once, and the end of the path once and last.
func (r *Recorder) RequireExact(t testing.TB, posts []*transport.Post, down bool) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range posts {
		require.Len(t, r.results[p], 1, "results of post %d", p.ID)
	}
	require.Len(t, r.results, len(posts))
	if down {
		require.Len(t, r.down, 1)
		require.Zero(t, r.late, "results after the end of the path")
		return
	}
	require.Empty(t, r.down)
}

var postID atomic.Uint64

// NewPost makes a post over slices.
func NewPost(op types.Op, crc bool, slices ...transport.Slice) *transport.Post {
	p := &transport.Post{ID: postID.Add(1), Op: op, CRC: crc, Class: types.Bulk, Slices: slices}
	for _, s := range slices {
		p.Bytes += s.Len
	}
	return p
}
