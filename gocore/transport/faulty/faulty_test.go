package faulty_test

import (
	"bytes"
	"errors"
	"io"
	"math/bits"
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/transport/faulty"
)

// pipe sends data over a connection with a plan and returns what arrives, with the errors of both ends.
func pipe(t *testing.T, plan faulty.Plan, data []byte) (got []byte, wrote, read error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	planned := faulty.NewListener(l, func(int) faulty.Plan { return plan })
	defer func() { require.NoError(t, planned.Close()) }()
	there, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer func() { _ = there.Close() }()
	c, err := planned.Accept()
	require.NoError(t, err)
	conn := c.(*faulty.Conn)
	done := make(chan error, 1)
	go func() {
		_, err := conn.Write(data)
		if err == nil {
			err = conn.Close()
		}
		done <- err
	}()
	if plan.Kind == faulty.Stall {
		<-conn.Fired()
		require.NoError(t, conn.Close())
	}
	got, read = io.ReadAll(there)
	return got, <-done, read
}

func TestEachKindDoesWhatItSays(t *testing.T) {
	data := make([]byte, 100_000)
	for i := range data {
		data[i] = byte(i * 7)
	}
	for seed := range uint64(10) {
		for _, kind := range append([]faulty.Kind{faulty.None}, faulty.Kinds...) {
			plan := faulty.NewPlan(kind, seed, int64(len(data)))
			require.Equal(t, plan, faulty.NewPlan(kind, seed, int64(len(data))))
			got, wrote, read := pipe(t, plan, data)
			switch kind {
			case faulty.None, faulty.Delay, faulty.Partial:
				require.NoError(t, wrote)
				require.True(t, bytes.Equal(data, got))
			case faulty.Cut:
				require.ErrorIs(t, wrote, faulty.ErrFault)
				require.NoError(t, read)
				require.True(t, bytes.Equal(data[:plan.After], got))
			case faulty.Reset:
				require.ErrorIs(t, wrote, faulty.ErrFault)
				require.True(t, errors.Is(read, syscall.ECONNRESET), "%v", read)
			case faulty.Corrupt:
				require.Len(t, got, len(data))
				flipped := 0
				for i := range got {
					flipped += bits.OnesCount8(got[i] ^ data[i])
				}
				require.Equal(t, 1, flipped)
			case faulty.Duplicate:
				n := len(got) - len(data)
				require.Positive(t, n)
				at := int(plan.After)
				require.True(t, bytes.Equal(data[:at+n], got[:at+n]))
				require.True(t, bytes.Equal(data[at:], got[at+n:]))
			case faulty.Stall:
				require.ErrorIs(t, wrote, net.ErrClosed)
				require.True(t, bytes.Equal(data[:plan.After], got))
			case faulty.HalfOpen:
				require.NoError(t, wrote, "the writer learns nothing")
				require.True(t, bytes.Equal(data[:plan.After], got))
			}
		}
	}
}
