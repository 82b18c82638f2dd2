package engine

import (
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/config"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store/mem"
	"mooncake_te/gocore/types"
)

// The last handle of a name is closed while others open it: a name was found in the resolver's cache, and led nowhere
// because its peer had been dropped before its last reference.
func TestOpensBesideTheLastClose(t *testing.T) {
	named(t, "busy")
	reader := named(t, "")
	var all sync.WaitGroup
	errs := make(chan error, 4)
	for range cap(errs) {
		all.Go(func() {
			for range 300 {
				task, err := reader.Open("busy", patience)
				if err == nil && task.Wait(patience) {
					err = task.Err()
				}
				if err == nil {
					err = reader.CloseSegment(task.result.(*OpenResult).Segment)
				}
				if err != nil {
					errs <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	reader.mu.Lock()
	names, peers := len(reader.meta.names), slices.Collect(maps.Values(reader.peers))
	reader.mu.Unlock()
	require.Zero(t, names)
	require.Zero(t, reader.meta.resolver.Stats().Open)
	for _, p := range peers { // its lock stands before the engine's
		held := func() int { p.mu.Lock(); defer p.mu.Unlock(); return p.segments }
		require.Zero(t, held(), "every count is given back")
	}
}

// Peers may greet an engine before it knows its store: it read what was being set. Found by the race detector only.
func TestPeersGreetAnEngineThatIsBeingMade(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	var once, last sync.Once
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		once.Do(func() { close(asked) })
		<-answer
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer slow.Close()
	release := func() { last.Do(func() { close(answer) }) }
	defer release()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())

	often := func(c *config.Config) { c.HeartbeatMS = 10 }
	peer := newRig(t, often)
	task, err := peer.Open(address, patience)
	require.NoError(t, err)
	go func() { <-asked; time.AfterFunc(800*time.Millisecond, release) }()
	r := newRig(t, often, func(c *config.Config) { c.Name, c.Metadata, c.Listen = "n", slow.URL+"/metadata", address })
	peer.opened(task)
	require.Equal(t, 1, len(r.statusNow().Peers))
}

// With its peer gone and the store away, an operation says what happened to the peer, not that nothing was heard.
func TestAGonePeerIsToldApartFromASilentStore(t *testing.T) {
	owner, reader := named(t, "n"), named(t, "")
	theirs, mine := owner.buffer(64, types.RemoteAll), reader.buffer(64, types.RemoteNone)
	seg := reader.open("n")
	reader.meta.store.(*mem.Store).Link().Cut()
	reader.must(one(types.Read, seg, mine.id, theirs.id, 0, 0, 64))
	owner.Destroy()
	_, p, err := reader.segment("look", seg)
	require.NoError(t, err)
	p.vanish(errcode.PeerDead, "the peer closed its engine") // should its goodbye have been lost
	require.Eventually(t, func() bool {
		_, code := reader.meta.resolver.Lookup("n")
		return code == errcode.MetadataUnavailable
	}, patience, time.Millisecond)
	_, err = reader.Submit(one(types.Read, seg, mine.id, theirs.id, 0, 0, 64))
	requireCode(t, errcode.PeerDead, err)
}
