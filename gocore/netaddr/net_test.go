package netaddr

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"mooncake_te/gocore/errcode"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func parse(t *testing.T, s string) Address {
	t.Helper()
	a, err := Parse(s)
	require.NoError(t, err)
	return a
}

func listen(t *testing.T, s string) net.Listener {
	t.Helper()
	l, err := Listen(t.Context(), "tcp", parse(t, s))
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func port(l net.Listener) uint16 { return uint16(l.Addr().(*net.TCPAddr).Port) }

func TestListenTakesTheFirstFreePortOfARange(t *testing.T) {
	taken := listen(t, "127.0.0.1:0")
	lo := port(taken)
	if lo > 65000 {
		t.Skip("the kernel gave a port too near the end for a range behind it")
	}
	l, err := Listen(t.Context(), "tcp", Address{Host: "127.0.0.1", PortLo: lo, PortHi: lo + 500})
	require.NoError(t, err)
	defer l.Close()
	require.Greater(t, port(l), lo)
}

func TestListenSaysWhatIsWrong(t *testing.T) {
	taken := listen(t, "127.0.0.1:0")
	for _, c := range []struct {
		a    Address
		says string
	}{
		{Address{Host: "127.0.0.1", PortLo: port(taken), PortHi: port(taken)}, "port in use"},
		{Address{Host: "nowhere.invalid", PortLo: 1, PortHi: 1}, `"nowhere.invalid" does not resolve`},
		{Address{Host: "192.0.2.1"}, "no address of this host"}, // TEST-NET-1 is never local
	} {
		_, err := Listen(t.Context(), "tcp", c.a)
		require.ErrorContains(t, err, c.says)
		require.Equal(t, errcode.InvalidArgument, errcode.Of(err))
	}
}

func TestListenOnIPv4WildcardIsNotOnIPv6(t *testing.T) {
	l := listen(t, "0.0.0.0:0")
	require.NotNil(t, l.Addr().(*net.TCPAddr).IP.To4())
}

func TestDialNameAndLiteral(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	for _, host := range []string{"127.0.0.1", "localhost"} {
		conn, err := Dial(t.Context(), "tcp", []string{Address{Host: host}.WithPort(port(l)).String()})
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	}
}

func TestDialIPv6(t *testing.T) {
	l, err := Listen(t.Context(), "tcp", Address{Host: "::1"})
	if err != nil {
		t.Skip("no IPv6 loopback: " + err.Error())
	}
	defer l.Close()
	conn, err := Dial(t.Context(), "tcp", []string{Address{Host: "::1"}.WithPort(port(l)).String()})
	require.NoError(t, err)
	require.NoError(t, conn.Close())
}

// A dead address, a name that does not resolve and a bad one stand before the one that answers.
func TestDialGoesOnToTheAddressThatAnswers(t *testing.T) {
	dead := listen(t, "127.0.0.1:0")
	deadAddr := dead.Addr().String()
	require.NoError(t, dead.Close())
	l := listen(t, "127.0.0.1:0")
	conn, err := Dial(t.Context(), "tcp", []string{"not an address", "nowhere.invalid:1", deadAddr, l.Addr().String()})
	require.NoError(t, err)
	require.Equal(t, l.Addr().String(), conn.RemoteAddr().String())
	require.NoError(t, conn.Close())
}

func TestDialFails(t *testing.T) {
	dead := listen(t, "127.0.0.1:0")
	addr := dead.Addr().String()
	require.NoError(t, dead.Close())

	_, err := Dial(t.Context(), "tcp", []string{addr, "nowhere.invalid:1"})
	require.Equal(t, errcode.PeerUnreachable, errcode.Of(err))
	require.ErrorContains(t, err, addr)
	require.ErrorContains(t, err, "nowhere.invalid")

	for _, addrs := range [][]string{nil, {"127.0.0.1"}, {"127.0.0.1:1-5"}, {"0.0.0.0:5"}, {"::1"}} {
		_, err = Dial(t.Context(), "tcp", addrs)
		require.Equal(t, errcode.InvalidArgument, errcode.Of(err), "%v", addrs)
	}
}

// A listener whose backlog is full answers no SYN: the second address must win without waiting for the first.
func TestDialStaggers(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	d := &race{network: "tcp", found: make(chan resolved), tried: make(chan attempt)}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// 192.0.2.1 is routed nowhere: it hangs or fails at once, depending on the machine; both must end in the second.
	conn, err := d.run(ctx, []Address{parse(t, "192.0.2.1:9"), parse(t, l.Addr().String())})
	require.NoError(t, err)
	require.Equal(t, l.Addr().String(), conn.RemoteAddr().String())
	require.NoError(t, conn.Close())
}

func TestDialEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l := listen(t, "127.0.0.1:0")
	_, err := Dial(ctx, "tcp", []string{l.Addr().String()})
	require.Equal(t, errcode.PeerUnreachable, errcode.Of(err))
}
