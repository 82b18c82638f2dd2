package control

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

func requireCode(t *testing.T, want errcode.Code, err error) *errcode.Error {
	t.Helper()
	require.Equal(t, want, errcode.Of(err), "%v", err)
	var e *errcode.Error
	require.ErrorAs(t, err, &e)
	return e
}

func TestDialSelf(t *testing.T) {
	a := start(t)
	_, err := a.Dial(t.Context(), a.Addresses(), types.InstanceID{})
	require.ErrorIs(t, err, ErrSelf)
	_, err = a.Dial(t.Context(), a.Addresses(), a.id)
	require.ErrorIs(t, err, ErrSelf)
	require.Empty(t, a.rec.kinds("up", "down"))
}

// A node dies and another takes its port: who expects the old one is told at once who is there.
func TestReplacedInstanceAtTheSamePort(t *testing.T) {
	a, b := start(t), start(t)
	a.dial(t, b)
	b.close(t)
	a.rec.awaitDown(t)
	b2 := start(t, func(c *Config) { c.Listen = b.Addresses()[0] })

	_, err := a.Dial(t.Context(), b2.Addresses(), b.id)
	e := requireCode(t, errcode.StaleInstance, err)
	require.Equal(t, b2.id.String(), e.Peer)
	var stale *StaleInstanceError
	require.ErrorAs(t, err, &stale)
	require.Equal(t, StaleInstanceError{Expected: b.id, Present: b2.id}, *stale)
	require.Equal(t, b2.id, a.dial(t, b2).Peer())

	// The one that expects another and finds itself is told so too.
	_, err = a.Dial(t.Context(), a.Addresses(), b.id)
	require.ErrorAs(t, err, &stale)
	require.Equal(t, a.id, stale.Present)
}

func TestVersionSkew(t *testing.T) {
	versions := func(min, max uint32) func(*Config) {
		return func(c *Config) { c.protocolMin, c.protocolMax = min, max }
	}
	old, next, far := start(t, versions(1, 1)), start(t, versions(1, 2)), start(t, versions(3, 4))
	require.NotNil(t, old.dial(t, next), "N speaks with N-1")
	for _, pair := range [][2]*testNode{{old, far}, {far, old}} {
		_, err := pair[0].Dial(t.Context(), pair[1].Addresses(), pair[1].id)
		e := requireCode(t, errcode.VersionSkew, err)
		require.Contains(t, e.Error(), "1 to 1")
		require.Contains(t, e.Error(), "3 to 4")
		require.Contains(t, e.Error(), pair[1].id.String())
	}
}

func TestPreSharedKey(t *testing.T) {
	key := func(s string) func(*Config) {
		return func(c *Config) {
			if s != "" {
				c.PSK = bytes.Repeat([]byte(s), 16)
			}
		}
	}
	for _, c := range []struct{ here, there, says string }{
		{"k", "k", ""},
		{"k", "x", "differ"},
		{"k", "", "peer wants a pre-shared key"},
		{"", "k", "showed none"},
	} {
		a, b := start(t, key(c.here)), start(t, key(c.there))
		b.rec.desc = describeMe(b, 10)
		_, err := a.Dial(t.Context(), b.Addresses(), b.id)
		_, describeErr := a.Describe(t.Context(), b.Addresses(), b.id)
		if c.says == "" {
			require.NoError(t, err)
			require.NoError(t, describeErr)
			continue
		}
		requireCode(t, errcode.MetadataRefused, err)
		requireCode(t, errcode.MetadataRefused, describeErr)
		require.ErrorContains(t, err, c.says)
		require.Empty(t, a.rec.kinds("up"))
		require.Empty(t, b.rec.kinds("up"), "nobody is up who has not proved the key")
	}
	_, err := tryStart(t, func(c *Config) { c.PSK = []byte("short") })
	requireCode(t, errcode.InvalidArgument, err)
}

func TestMaxSessions(t *testing.T) {
	one := start(t, func(c *Config) { c.MaxSessions = 1 })
	b, c := start(t), start(t)
	b.dial(t, one)
	_, err := c.Dial(t.Context(), one.Addresses(), one.id)
	requireCode(t, errcode.ResourceExhausted, err)
	_, err = one.Dial(t.Context(), c.Addresses(), c.id)
	requireCode(t, errcode.ResourceExhausted, err)
	one.Session(b.id).Close(nil)
	b.rec.awaitDown(t)
	require.Eventually(t, func() bool {
		_, err := c.Dial(t.Context(), one.Addresses(), one.id)
		return err == nil
	}, patience, time.Millisecond)
}

func TestDialByNameAndIPv6(t *testing.T) {
	a := start(t)
	b := start(t, func(c *Config) { c.Listen = "localhost:0" })
	_, port, err := net.SplitHostPort(b.Addresses()[0])
	require.NoError(t, err)
	_, err = a.Dial(t.Context(), []string{"localhost:" + port}, b.id)
	require.NoError(t, err)

	c, err := tryStart(t, func(c *Config) { c.Listen = "[::1]:0" })
	if err != nil {
		t.Skip("no IPv6 loopback: " + err.Error())
	}
	require.Equal(t, c.id, a.dial(t, c).Peer())
}

func TestDialUnreachable(t *testing.T) {
	a, dead := start(t), start(t)
	dead.close(t)
	_, err := a.Dial(t.Context(), dead.Addresses(), dead.id)
	requireCode(t, errcode.PeerUnreachable, err)
	_, err = a.Describe(t.Context(), dead.Addresses(), dead.id)
	requireCode(t, errcode.PeerUnreachable, err)
	_, err = a.Dial(t.Context(), []string{"nowhere.invalid:1"}, types.InstanceID{})
	e := requireCode(t, errcode.PeerUnreachable, err)
	require.Contains(t, e.Error(), "nowhere.invalid")
	_, err = a.Dial(t.Context(), []string{"::1:5"}, types.InstanceID{})
	requireCode(t, errcode.InvalidArgument, err)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b := start(t)
	_, err = a.Dial(ctx, b.Addresses(), b.id)
	require.ErrorIs(t, err, context.Canceled)
}

// serve answers connections with f until the test ends.
func serve(t *testing.T, f func(net.Conn)) []string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f(c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return []string{l.Addr().String()}
}

func mail(c net.Conn) {
	_, _ = io.WriteString(c, "220 mail ready, and more than a frame's head\r\n")
	_, _ = io.Copy(io.Discard, c)
}

func TestDialSomethingElse(t *testing.T) {
	// An attempt at a server that says nothing ends with the time-out only.
	patient, hasty := start(t), start(t, func(c *Config) { c.DialTimeout = 300 * time.Millisecond })

	web := &http.Server{Handler: http.NotFoundHandler()}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() { _ = web.Serve(l) }()
	defer web.Close()

	bare := grpc.NewServer()
	bl, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() { _ = bare.Serve(bl) }()
	defer bare.Stop()

	for name, c := range map[string]struct {
		addrs []string
		code  errcode.Code
	}{
		"web server":         {[]string{l.Addr().String()}, errcode.Unsupported},
		"other gRPC service": {[]string{bl.Addr().String()}, errcode.Unsupported},
		"talks first":        {serve(t, mail), errcode.Unsupported},
		"hangs up":           {serve(t, func(net.Conn) {}), errcode.PeerUnreachable},
		"says nothing":       {serve(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }), errcode.PeerUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			a, within := patient, patience
			if name == "says nothing" {
				a, within = hasty, 300*time.Millisecond
			}
			_, err := a.Dial(t.Context(), c.addrs, types.InstanceID{})
			requireCode(t, c.code, err)
			ctx, cancel := context.WithTimeout(t.Context(), within)
			defer cancel()
			_, err = a.Describe(ctx, c.addrs, types.InstanceID{})
			requireCode(t, c.code, err)
		})
	}
}

func TestStartSaysWhatIsWrong(t *testing.T) {
	b := start(t)
	for says, change := range map[string]func(*Config){
		"port in use":          func(c *Config) { c.Listen = b.Addresses()[0] },
		"does not resolve":     func(c *Config) { c.Listen = "nowhere.invalid:0" },
		"more than one colon":  func(c *Config) { c.Listen = "::1:0" },
		"no address to advert": func(c *Config) { c.Listen = "0.0.0.0:0" },
		"wildcard":             func(c *Config) { c.Advertise = []string{"0.0.0.0"} },
		"Instance is zero":     func(c *Config) { c.Instance = types.InstanceID{} },
		"Handler is nil":       func(c *Config) { c.Handler = nil },
		"no such file":         func(c *Config) { c.TLS = &TLSConfig{CertFile: "none", KeyFile: "none", CAFile: "none"} },
	} {
		_, err := tryStart(t, change)
		requireCode(t, errcode.InvalidArgument, err)
		require.ErrorContains(t, err, says)
	}
}

func TestAdvertise(t *testing.T) {
	n := start(t, func(c *Config) { c.Advertise = []string{"localhost", "127.0.0.1:9"} })
	require.Len(t, n.Addresses(), 2)
	require.Contains(t, n.Addresses()[0], "localhost:")
	require.NotContains(t, n.Addresses()[0], ":0")
	require.Equal(t, "127.0.0.1:9", n.Addresses()[1])
	_, err := start(t).Dial(t.Context(), n.Addresses(), n.id)
	require.NoError(t, err)
}

func TestPortRange(t *testing.T) {
	a := start(t)
	_, lo, err := net.SplitHostPort(a.Addresses()[0])
	require.NoError(t, err)
	b, err := tryStart(t, func(c *Config) { c.Listen = "127.0.0.1:" + lo + "-65535" })
	require.NoError(t, err)
	require.NotEqual(t, a.Addresses(), b.Addresses())
	_, err = tryStart(t, func(c *Config) { c.Listen = "127.0.0.1:" + lo + "-" + lo })
	require.True(t, errors.Is(err, &errcode.Error{Code: errcode.InvalidArgument}))
}
