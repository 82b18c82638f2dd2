package forkfd

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAddRemoveBounds(t *testing.T) {
	base := Count()
	for _, fd := range []int{-1, MaxFD, MaxFD + 1, 1 << 40} {
		require.False(t, Add(fd), "fd %d", fd)
		require.False(t, Tracked(fd), "fd %d", fd)
		Remove(fd)
	}
	for _, fd := range []int{MaxFD - 1, MaxFD - 64, MaxFD - 65} {
		require.True(t, Add(fd))
		require.True(t, Add(fd), "entering twice is the same as once")
		require.True(t, Tracked(fd))
		require.False(t, Tracked(fd-2), "others stay untouched")
	}
	require.Equal(t, base+3, Count())
	for _, fd := range []int{MaxFD - 1, MaxFD - 64, MaxFD - 65} {
		Remove(fd)
		require.False(t, Tracked(fd))
	}
	require.Equal(t, base, Count())
}

// Bits of one word are set and cleared by many goroutines: no update may be lost.
func TestConcurrentBitsOfOneWord(t *testing.T) {
	const first = MaxFD - 128
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for range 1000 {
				Add(first + i)
				Remove(first + i)
			}
			if i%2 == 0 {
				Add(first + i)
			}
		})
	}
	wg.Wait()
	for i := range 64 {
		require.Equal(t, i%2 == 0, Tracked(first+i), "bit %d", i)
		Remove(first + i)
	}
}

func TestListenerTracksWhatItAccepts(t *testing.T) {
	base := Count()
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := Listener(plain)
	require.Equal(t, base+1, Count())

	dialled, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	client := Conn(dialled)
	server, err := l.Accept()
	require.NoError(t, err)
	require.Equal(t, base+3, Count())

	_, err = client.Write([]byte("x"))
	require.NoError(t, err)
	got := make([]byte, 1)
	_, err = io.ReadFull(server, got)
	require.NoError(t, err)
	require.Equal(t, "x", string(got))
	require.Implements(t, (*syscall.Conn)(nil), server)

	require.NoError(t, server.Close())
	require.Equal(t, base+2, Count())
	require.NoError(t, client.Close())
	require.NoError(t, l.Close())
	require.Equal(t, base, Count())
}

// Closing a connection twice must not untrack a newer one that got the same number.
func TestSecondCloseLeavesTheSuccessorTracked(t *testing.T) {
	a, b, err := os.Pipe()
	require.NoError(t, err)
	defer b.Close()
	fd := Track(a)
	require.GreaterOrEqual(t, fd, 0)
	c := &conn{Conn: fileConn{a}, fd: fd}
	require.NoError(t, c.Close())
	require.False(t, Tracked(fd))
	Add(fd) // the successor
	require.Error(t, c.Close())
	require.True(t, Tracked(fd))
	Remove(fd)
}

type fileConn struct{ *os.File }

func (fileConn) LocalAddr() net.Addr  { return nil }
func (fileConn) RemoteAddr() net.Addr { return nil }

func TestTrackOfClosedSocket(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	require.Equal(t, -1, Track(l.(*net.TCPListener)))
	a, b := net.Pipe() // no descriptor behind it
	defer a.Close()
	defer b.Close()
	require.Same(t, a, Conn(a))
}

func TestBitmapIsStable(t *testing.T) {
	p, n := Bitmap()
	require.NotNil(t, p)
	require.Equal(t, MaxFD/64, n)
	q, _ := Bitmap()
	require.Equal(t, p, q)
	require.Zero(t, testing.AllocsPerRun(100, func() { Add(MaxFD - 1); Remove(MaxFD - 1) }))
}
