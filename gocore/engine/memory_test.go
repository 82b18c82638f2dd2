package engine

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// The data path's view of memory, without a network: what transports ask per request and per chunk.

func TestDrainingMemoryAdmitsNothingNew(t *testing.T) {
	e := newRig(t)
	m, peer := e.memory, types.NewInstanceID()
	buf := e.buffer(4096, types.RemoteAll)
	next := e.buffer(4096, types.RemoteAll)
	require.Equal(t, errcode.OK, m.Admit(peer, buf.id, types.Write, 0, 4096))
	inside, code := m.Enter(peer, buf.id, types.Write, 64, 64)
	require.Equal(t, errcode.OK, code)
	require.Equal(t, buf.addr+64, inside.Addr)
	leave := sync.OnceFunc(inside.Gate.Leave)
	t.Cleanup(leave)
	reg, _ := m.registration(buf.id)
	require.True(t, reg.local.Enter(), "a batch of our own, for which the fence waits")
	quiet := sync.OnceFunc(reg.local.Leave)
	t.Cleanup(quiet)

	task, err := e.Drain([]types.BufferID{buf.id}, patience)
	require.NoError(t, err)
	require.False(t, reg.local.Enter(), "nothing new of our own either")
	for _, op := range []types.Op{types.Read, types.Write} {
		require.Equal(t, errcode.DrainingCode, m.Admit(peer, buf.id, op, 0, 64))
		a, code := m.Enter(peer, buf.id, op, 128, 64)
		require.Equal(t, errcode.OK, code, "what was admitted before may go on until the fence")
		a.Gate.Leave()
	}

	quiet() // now the fence
	g := m.grantOf(buf.id)
	require.Eventually(t, g.gate.Closed, patience, time.Millisecond)
	_, code = m.Enter(peer, buf.id, types.Write, 128, 64)
	require.Equal(t, errcode.Revoked, code)
	require.False(t, task.Wait(0), "somebody is inside")
	leave()
	require.True(t, task.Wait(patience))
	require.NoError(t, task.Err())

	require.Equal(t, errcode.StaleBuffer, m.Admit(peer, buf.id, types.Write, 0, 64))
	_, code = m.Enter(peer, buf.id, types.Write, 0, 64)
	require.Equal(t, errcode.StaleBuffer, code)
	require.Equal(t, errcode.OK, m.Admit(peer, next.id, types.Write, 0, 64), "another buffer is another matter")
}

func TestGrantIsForItsPeerAlone(t *testing.T) {
	e := newRig(t)
	m, mine, other := e.memory, types.NewInstanceID(), types.NewInstanceID()
	pool := e.buffer(4096, types.RemoteGrants)
	id, err := e.Grant(pool.id, []types.Range{{Off: 64, Len: 64}, {Off: 256, Len: 64}}, types.PermRead, mine)
	require.NoError(t, err)
	for _, c := range []struct {
		peer   types.InstanceID
		id     types.BufferID
		op     types.Op
		off, n uint64
		want   errcode.Code
	}{
		{mine, id, types.Read, 64, 64, errcode.OK},
		{mine, id, types.Read, 256, 64, errcode.OK},
		{mine, id, types.Read, 64, 65, errcode.OutOfBounds},
		{mine, id, types.Read, 0, 64, errcode.OutOfBounds},
		{mine, id, types.Read, 127, ^uint64(0), errcode.OutOfBounds},
		{mine, id, types.Read, 64, 0, errcode.OutOfBounds},
		{mine, id, types.Write, 64, 64, errcode.Permission},
		{other, id, types.Read, 64, 64, errcode.Permission},
		{mine, pool.id, types.Read, 64, 64, errcode.Permission},
		{mine, id + 1, types.Read, 64, 64, errcode.StaleBuffer},
	} {
		require.Equal(t, c.want, m.Admit(c.peer, c.id, c.op, c.off, c.n), "%+v", c)
		a, code := m.Enter(c.peer, c.id, c.op, c.off, c.n)
		require.Equal(t, c.want, code, "%+v", c)
		if code == errcode.OK {
			require.Equal(t, pool.addr+c.off, a.Addr)
			a.Gate.Leave()
		}
	}
}
