package tcp

import (
	"bytes"
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/transport"
	"mooncake_te/gocore/transport/conformance"
	"mooncake_te/gocore/types"
)

func withCounters(c *counters) func(*Config) { return func(cfg *Config) { cfg.Counters = c } }

func TestGarbageIsCutWithoutAnAnswer(t *testing.T) {
	p := newPair(t, nil)
	header := (&raw{p: p, token: p.target.Token(p.self)}).header(OpHello, 0, 0, 0)
	good := header.Append(nil)
	flipped := append([]byte{}, good...)
	flipped[40] ^= 1
	for name, b := range map[string][]byte{
		"http":         append([]byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), make([]byte, 80)...),
		"zeros":        make([]byte, 4096),
		"a bit flip":   flipped,
		"a reply":      (&Reply{Version: Version, Op: OpHello}).Append(nil),
		"random bytes": bytes.Repeat([]byte{0xde, 0xad, 0xbe, 0xef}, 40),
	} {
		t.Run(name, func(t *testing.T) {
			r := p.raw(t)
			_, _ = r.Write(b)
			r.requireClosed()
		})
	}
	r := p.raw(t)
	r.send(good) // its token was not used up
	require.Equal(t, errcode.OK, r.reply().Status)
}

func TestTokens(t *testing.T) {
	c := newCounters()
	p := newPair(t, withCounters(c))
	g := p.target.Add(t, 4096, types.PermReadWrite, p.self)

	t.Run("unknown", func(t *testing.T) {
		r := p.raw(t)
		r.token = 12345
		h := r.header(OpRead, g.ID, 0, 4096)
		r.send(h.Append(nil))
		r.requireClosed()
	})
	t.Run("retired before use", func(t *testing.T) {
		r := p.known(t)
		<-p.target.Retire(r.token)
		h := r.header(OpRead, g.ID, 0, 4096)
		r.send(h.Append(nil))
		r.requireClosed()
	})
	t.Run("used twice", func(t *testing.T) {
		r := p.known(t)
		h := r.header(OpHello, 0, 0, 0)
		r.send(h.Append(nil))
		require.Equal(t, errcode.OK, r.reply().Status)
		again := p.raw(t)
		again.send(h.Append(nil))
		again.requireClosed()
		r.send(h.Append(nil)) // the first one still works
		require.Equal(t, errcode.OK, r.reply().Status)
	})
	t.Run("changed on the way", func(t *testing.T) {
		r := p.known(t)
		h := r.header(OpHello, 0, 0, 0)
		r.send(h.Append(nil))
		r.reply()
		h.Token = p.target.Token(p.self)
		r.send(h.Append(nil))
		r.requireClosed()
		r.gone()
	})
	t.Run("retired in use", func(t *testing.T) {
		r := p.known(t)
		h := r.header(OpHello, 0, 0, 0)
		r.send(h.Append(nil))
		r.reply()
		<-p.target.Retire(r.token)
		r.requireClosed()
	})
	require.EqualValues(t, 4, c.get(CounterRefusedToken))
	t.Run("by the dialer", func(t *testing.T) {
		_, err := p.try(77, p.target.Instance(), conformance.NewRecorder(), nil)
		require.Equal(t, errcode.PeerUnreachable, errcode.Of(err))
		require.Contains(t, err.Error(), "token")
	})
}

func TestSlowFirstHeader(t *testing.T) {
	p := newPair(t, func(c *Config) { c.HandshakeTimeout = 20 * time.Millisecond })
	r := p.known(t)
	h := r.header(OpHello, 0, 0, 0)
	r.send(h.Append(nil)[:79])
	r.requireClosed()
	require.False(t, p.target.Connected(r.token))
}

func TestTooManyHandshakesAndConnections(t *testing.T) {
	c := newCounters()
	p := newPair(t, func(cfg *Config) { cfg.MaxPendingHandshakes, cfg.MaxConns, cfg.Counters = 2, 3, c })
	a, b := p.known(t), p.known(t)
	eventually(t, func() bool { return c.get(CounterAccepted) == 2 }, "both are pending")
	b2 := p.known(t) // the oldest silent one makes room
	a.requireClosed()
	for _, r := range []*raw{b, b2} {
		h := r.header(OpHello, 0, 0, 0)
		r.send(h.Append(nil))
		r.reply()
	}
	third := p.known(t)
	h := third.header(OpHello, 0, 0, 0)
	third.send(h.Append(nil))
	third.reply()
	p.refused(t) // the fourth
	require.EqualValues(t, 2, c.get(CounterRefusedLimit))
	require.NoError(t, b.Close())
	b.gone()
	eventually(t, func() bool { return p.server.Connections() == 2 }, "one has gone")
	p.dial(t, conformance.NewRecorder(), nil)
}

// A process without free descriptors goes on accepting as soon as it has some.
func TestOutOfDescriptors(t *testing.T) {
	c := newCounters()
	p := newPair(t, withCounters(c))
	token := p.target.Token(p.self)
	addr, err := net.ResolveTCPAddr("tcp", p.server.Addresses()[0])
	require.NoError(t, err)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer func() { require.NoError(t, unix.Close(fd)) }()
	var old unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(fd) + 1, Max: old.Max}))
	restored := false
	restore := func() {
		if !restored {
			require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &old))
			restored = true
		}
	}
	defer restore()
	// Every number below fd is taken, or the socket would have got it; a hole may have opened since.
	var holes []int
	for {
		n, err := unix.Dup(fd)
		if err != nil {
			break
		}
		holes = append(holes, n)
	}
	sa := &unix.SockaddrInet4{Port: addr.Port, Addr: [4]byte(addr.IP.To4())}
	require.NoError(t, unix.Connect(fd, sa))
	eventually(t, func() bool { return c.get(CounterAcceptErrors) >= 2 }, "accept fails and is tried again")
	require.Less(t, c.get(CounterAcceptErrors), uint64(1000), "it does not spin")
	restore()
	for _, n := range holes {
		require.NoError(t, unix.Close(n))
	}
	h := (&raw{p: p, token: token}).header(OpHello, 0, 0, 0)
	_, err = unix.Write(fd, h.Append(nil))
	require.NoError(t, err)
	b := make([]byte, HeaderLen)
	_, err = unix.Read(fd, b)
	require.NoError(t, err)
	var rep Reply
	require.Nil(t, rep.Decode(b, testLimits))
	require.Equal(t, errcode.OK, rep.Status)
}

func TestVersionSkewIsAnswered(t *testing.T) {
	p := newPair(t, nil)
	r := p.known(t)
	h := r.header(OpHello, 0, 0, 0)
	h.Version = 9
	r.send(h.Append(nil))
	rep := r.reply()
	require.Equal(t, errcode.VersionSkew, rep.Status)
	require.EqualValues(t, MinVersion|MaxVersion<<8, rep.Applied)
	require.Zero(t, rep.Metadata, "a stranger learns nothing")
	r.requireClosed()
}

func TestDialFindsAnotherInstance(t *testing.T) {
	p := newPair(t, nil)
	token := p.target.Token(p.self)
	_, err := p.try(token, types.NewInstanceID(), conformance.NewRecorder(), nil)
	require.Equal(t, errcode.StaleInstance, errcode.Of(err))
	var e *errcode.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, p.target.Instance().String(), e.Peer)
	<-p.target.Gone(token)
}

func TestDialErrors(t *testing.T) {
	p := newPair(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	d := NewDialer(DialerConfig{Sink: conformance.NewRecorder(), DialTimeout: 20 * time.Millisecond})
	// Somebody listens and says nothing.
	_, err = d.Dial(context.Background(), []string{l.Addr().String()}, 1, p.target.Instance(), p.self)
	require.Equal(t, errcode.PeerUnreachable, errcode.Of(err))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	_, err = d.Dial(context.Background(), nil, 1, p.target.Instance(), p.self)
	require.Equal(t, errcode.InvalidArgument, errcode.Of(err))
	_, err = NewDialer(DialerConfig{}).Dial(context.Background(), []string{l.Addr().String()}, 1, p.target.Instance(), p.self)
	require.Equal(t, errcode.InvalidArgument, errcode.Of(err))
}

func TestConfigIsChecked(t *testing.T) {
	target := conformance.NewTarget()
	for name, cfg := range map[string]Config{
		"no memory":   {},
		"tiny chunks": {Memory: target, Admission: target, ChunkBytes: 100},
		"huge chunks": {Memory: target, Admission: target, ChunkBytes: 1 << 30},
		"no entries":  {Memory: target, Admission: target, MaxEntries: -1},
		"wildcard":    {Memory: target, Admission: target, Listen: "0.0.0.0:0"},
		"bad address": {Memory: target, Admission: target, Listen: "127.0.0.1:port"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Listen(cfg)
			require.Equal(t, errcode.InvalidArgument, errcode.Of(err), "%v", err)
		})
	}
	s, err := Listen(Config{Memory: target, Admission: target, Listen: "0.0.0.0:0", Advertise: []string{"127.0.0.1", "10.0.0.1:77"}})
	require.NoError(t, err)
	defer s.Close()
	_, port, err := net.SplitHostPort(s.listener.Addr().String())
	require.NoError(t, err)
	require.Equal(t, []string{"127.0.0.1:" + port, "10.0.0.1:77"}, s.Addresses())
	_, err = Listen(Config{Memory: target, Admission: target, Listen: s.Addresses()[0]})
	require.Equal(t, errcode.InvalidArgument, errcode.Of(err))
	require.Contains(t, err.Error(), "in use")
}

var _ transport.Conn = (*conn)(nil)
