package httpstore_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/metaserver"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/store/httplink"
	"mooncake_te/gocore/types"
)

const serveEnv = "MOONCAKE_TE_TEST_SERVE"

// TestServeToBeKilled is the other process of TestServerKilledAmidWrites.
func TestServeToBeKilled(t *testing.T) {
	listen := os.Getenv(serveEnv)
	if listen == "" {
		return // not started by it
	}
	server := start(t, metaserver.Options{Listen: listen})
	fmt.Println("listening on", server.Address())
	select {} // until it is killed
}

func process(t *testing.T, listen string) (*exec.Cmd, string) {
	server := exec.Command(os.Args[0], "-test.run=^TestServeToBeKilled$")
	server.Env = append(os.Environ(), serveEnv+"="+listen)
	said, err := server.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, server.Start())
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	lines := bufio.NewScanner(said)
	for lines.Scan() {
		if address, ok := strings.CutPrefix(lines.Text(), "listening on "); ok {
			return server, address
		}
	}
	require.Fail(t, "the server process did not start")
	return nil, ""
}

// kill -9 amid writes: each write that got no answer is unknown or was never sent, none hangs, and the server that comes
// back is another store, in which the name is acquired and published anew.
func TestServerKilledAmidWrites(t *testing.T) {
	server, address := process(t, "127.0.0.1:0")
	s := openWith(t, httplink.Options{URL: "http://" + address + "/metadata"})
	request := store.AcquireRequest{Name: "x", Instance: types.NewInstanceID(), TTL: time.Minute}
	o, err := s.Acquire(within(t), request)
	require.NoError(t, err)
	const before = 20
	var last uint64
	landed := 0
	for err = error(nil); err == nil; landed++ {
		if landed == before {
			go func() { _ = server.Process.Kill() }()
		}
		var r store.PublishResult
		if r, err = s.Publish(within(t), o, store.PublishRequest{Head: fmt.Append(nil, landed), Last: last}); err == nil {
			require.Nil(t, r.Lost)
			last = r.Revision
		}
	}
	require.Equal(t, errcode.MetadataUnavailable, errcode.Of(err), "%v", err)
	_ = server.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err = s.Publish(ctx, o, store.PublishRequest{Head: []byte("into the void"), Last: last})
	require.Equal(t, errcode.MetadataUnavailable, errcode.Of(err), "%v", err)
	require.False(t, store.IsUnknown(err), "nobody listens: it was not sent: %v", err)

	process(t, address)
	r, err := s.Get(within(t), "x")
	require.NoError(t, err)
	require.True(t, r.Empty())
	require.NotEqual(t, o.StoreID, r.StoreID)
	again, err := s.Acquire(within(t), request)
	require.NoError(t, err)
	require.NotEqual(t, o.StoreID, again.StoreID)
	_, err = s.Publish(within(t), again, store.PublishRequest{Head: []byte("anew")})
	require.NoError(t, err)
}
