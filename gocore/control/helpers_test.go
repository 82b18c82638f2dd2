package control

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"mooncake_te/gocore/control/controlpb"
	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/types"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds waits that are expected to be short; no test depends on how short.
const patience = 30 * time.Second

// recorder is a Handler that keeps what happened, for each peer in order.
type recorder struct {
	mu      sync.Mutex
	log     []record
	changed chan struct{}
	desc    *descriptor.Descriptor
	onEvent func(Session, *controlpb.Event)
	inside  map[types.InstanceID]bool // a handler call is running
	overlap bool
}

type record struct {
	kind string // up, event, down
	s    Session
	ev   *controlpb.Event
	err  error
}

func newRecorder() *recorder {
	return &recorder{changed: make(chan struct{}), inside: map[types.InstanceID]bool{}}
}

func (r *recorder) add(x record) {
	r.mu.Lock()
	if r.inside[x.s.Peer()] {
		r.overlap = true
	}
	r.inside[x.s.Peer()] = true
	r.mu.Unlock()
	if r.onEvent != nil && x.kind == "event" {
		r.onEvent(x.s, x.ev)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.inside, x.s.Peer())
	r.log = append(r.log, x)
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *recorder) SessionUp(s Session, h *controlpb.Hello) { r.add(record{kind: "up", s: s}) }
func (r *recorder) SessionDown(s Session, err error)        { r.add(record{kind: "down", s: s, err: err}) }
func (r *recorder) Event(s Session, ev *controlpb.Event)    { r.add(record{kind: "event", s: s, ev: ev}) }

func (r *recorder) Describe(types.InstanceID) *descriptor.Descriptor {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.desc
}

// await returns the first record that the condition holds for.
func (r *recorder) await(t testing.TB, what string, cond func(record) bool) record {
	t.Helper()
	deadline := time.After(patience)
	for {
		r.mu.Lock()
		for _, x := range r.log {
			if cond(x) {
				r.mu.Unlock()
				return x
			}
		}
		changed := r.changed
		r.mu.Unlock()
		select {
		case <-changed:
		case <-deadline:
			require.FailNow(t, "never happened: "+what)
		}
	}
}

func (r *recorder) awaitDown(t testing.TB) record {
	t.Helper()
	return r.await(t, "session down", func(x record) bool { return x.kind == "down" })
}

func (r *recorder) awaitNotify(t testing.TB, tag string) record {
	t.Helper()
	return r.await(t, "notify "+tag, func(x record) bool { return x.ev.GetNotify().GetTag() == tag && x.kind == "event" })
}

func (r *recorder) kinds(keep ...string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, x := range r.log {
		for _, k := range keep {
			if x.kind == k {
				out = append(out, k)
			}
		}
	}
	return out
}

// testNode is a node with its recorder.
type testNode struct {
	*Node
	rec *recorder
	id  types.InstanceID
}

func start(t testing.TB, change ...func(*Config)) *testNode {
	t.Helper()
	n, err := tryStart(t, change...)
	require.NoError(t, err)
	return n
}

func tryStart(t testing.TB, change ...func(*Config)) (*testNode, error) {
	t.Helper()
	rec := newRecorder()
	cfg := Config{
		Instance: types.NewInstanceID(), Handler: rec, Name: t.Name(), DialTimeout: patience,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	for _, f := range change {
		f(&cfg)
	}
	n, err := Start(cfg)
	if err != nil {
		return nil, err
	}
	tn := &testNode{Node: n, rec: rec, id: cfg.Instance}
	t.Cleanup(func() { tn.close(t) })
	return tn, nil
}

func (n *testNode) close(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(t, n.Close(ctx))
	n.rec.mu.Lock()
	defer n.rec.mu.Unlock()
	require.False(t, n.rec.overlap, "two handler calls for one peer at once")
}

func (n *testNode) dial(t testing.TB, to *testNode) Session {
	t.Helper()
	s, err := n.Dial(t.Context(), to.Addresses(), to.id)
	require.NoError(t, err)
	return s
}

func notify(tag string) *controlpb.Event {
	return &controlpb.Event{Kind: &controlpb.Event_Notify{Notify: &controlpb.Notify{Tag: tag}}}
}
