package etcd

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store"
)

// A server that takes connections and says nothing holds whoever asks for a token, a watch without a deadline among them.
// Who waits for the same answer still ends with its own context.
func TestWaitingForATokenEndsWithItsContext(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, silent.Close()) }()
	s, err := Open(Options{Endpoints: []string{silent.Addr().String()}, User: "u", Password: "p", DialTimeout: time.Hour})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()

	watching, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = s.Watch(watching, func(store.Event) {}) }()
	defer func() { stop(); <-ended }()
	require.Eventually(t, func() bool { return len(s.auth.asking) == 1 }, time.Minute, time.Millisecond)

	brief, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	answer := make(chan error, 1)
	go func() { _, err := s.Get(brief, "x"); answer <- err }()
	select {
	case err = <-answer:
		require.Equal(t, errcode.MetadataUnavailable, errcode.Of(err), "%v", err)
	case <-time.After(30 * time.Second):
		require.Fail(t, "it waits for the one that asks")
	}
}
