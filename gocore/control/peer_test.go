package control

import (
	"context"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// Instances come and go for ever; those with a session are kept, the memory of the others is bounded.
func TestPeersAreForgotten(t *testing.T) {
	a, b := start(t, func(c *Config) { c.MaxSessions = 4 }), start(t)
	s := a.dial(t, b)
	for range 2 * maxPeers {
		_, _, release := a.watchPeer(types.NewInstanceID())
		release()
	}
	a.mu.Lock()
	known := len(a.peers)
	a.mu.Unlock()
	require.LessOrEqual(t, known, maxPeers+4)
	require.Equal(t, s, a.Session(b.id))
}

func TestConnectAndCloseLeavesNothing(t *testing.T) {
	a, b := start(t), start(t)
	idle := func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		b.mu.Lock()
		defer b.mu.Unlock()
		return a.streams == 0 && b.streams == 0
	}
	cycle := func() {
		s := a.dial(t, b)
		s.Close(nil)
		require.Eventually(t, idle, patience, 100*time.Microsecond)
	}
	for range 10 {
		cycle()
	}
	before := runtime.NumGoroutine()
	for range 300 {
		cycle()
	}
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+10 }, patience, time.Millisecond)
	a.listener.mu.Lock()
	defer a.listener.mu.Unlock()
	require.Empty(t, a.listener.conns)
}

func TestCloseEndsDialsUnderWay(t *testing.T) {
	a := start(t)
	arrived := make(chan struct{})
	addrs := serve(t, func(c net.Conn) { close(arrived); _, _ = c.Read(make([]byte, 1)); _, _ = c.Read(make([]byte, 4096)) })
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := a.Dial(t.Context(), addrs, types.InstanceID{})
		require.Equal(t, errcode.PeerUnreachable, errcode.Of(err))
	})
	<-arrived
	a.close(t)
	wg.Wait()
	a.close(t) // once more does no harm
}

func TestSessionSaysWhereAndWhen(t *testing.T) {
	began := time.Now()
	a, b := start(t), start(t)
	s := a.dial(t, b)
	require.Equal(t, b.Addresses()[0], s.RemoteAddr())
	require.False(t, s.Since().Before(began))
	_, err := s.Ping(t.Context())
	require.NoError(t, err)
	require.True(t, s.LastHeard().After(s.Since()))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.Ping(ctx)
	// The answer may be as quick as the look at the context.
	if err != nil {
		requireCode(t, errcode.Deadline, err)
	}
	require.Empty(t, s.(*session).pings)
}
