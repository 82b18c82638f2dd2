package control

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/control/controlpb"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

func TestTwoNodes(t *testing.T) {
	a, b := start(t), start(t)
	s, err := a.Dial(t.Context(), b.Addresses(), types.InstanceID{})
	require.NoError(t, err)
	require.Equal(t, b.id, s.Peer())
	require.Equal(t, t.Name(), s.Hello().GetName())
	require.Equal(t, b.Addresses(), s.Hello().GetAddresses())
	require.True(t, s.Dialled())
	require.Equal(t, uint64(1), s.Number())
	require.Equal(t, []string{"up"}, a.rec.kinds("up", "down"), "SessionUp comes before Dial returns")

	up := b.rec.await(t, "up", func(x record) bool { return x.kind == "up" })
	require.False(t, up.s.Dialled())
	require.Equal(t, s.Number(), up.s.Number())

	const events = 1000
	for i := range events {
		require.NoError(t, s.Send(notify(fmt.Sprint("a", i))))
		require.NoError(t, up.s.Send(notify(fmt.Sprint("b", i))))
	}
	for _, side := range []struct {
		rec  *recorder
		from string
	}{{a.rec, "b"}, {b.rec, "a"}} {
		side.rec.awaitNotify(t, fmt.Sprint(side.from, events-1))
		i := 0
		for _, x := range side.rec.log {
			if n := x.ev.GetNotify(); n != nil {
				require.Equal(t, fmt.Sprint(side.from, i), n.GetTag())
				i++
			}
		}
		require.Equal(t, events, i)
	}
	rtt, err := s.Ping(t.Context())
	require.NoError(t, err)
	require.Positive(t, rtt)
	again, err := a.Dial(t.Context(), b.Addresses(), b.id)
	require.NoError(t, err)
	require.Same(t, s, again, "a live session counts")
	require.Equal(t, s, a.Session(b.id))
	require.Nil(t, a.Session(types.NewInstanceID()))
}

func TestByeEndsBothSides(t *testing.T) {
	a, b := start(t), start(t)
	s := a.dial(t, b)
	require.NoError(t, s.Send(notify("last")))
	s.Close(nil)
	b.rec.awaitNotify(t, "last")
	require.Equal(t, errcode.Closed, errcode.Of(b.rec.awaitDown(t).err))
	require.Equal(t, errcode.Closed, errcode.Of(a.rec.awaitDown(t).err))
	require.Equal(t, errcode.Closed, errcode.Of(s.Send(notify("too late"))))
	_, err := s.Ping(t.Context())
	require.Equal(t, errcode.Closed, errcode.Of(err))
	require.Nil(t, a.Session(b.id))

	again := a.dial(t, b)
	require.NotSame(t, s, again)
	require.Greater(t, again.Number(), s.Number())
}

func TestCloseOfANodeSaysBye(t *testing.T) {
	a, b, c := start(t), start(t), start(t)
	a.dial(t, b)
	c.dial(t, a) // a is the acceptor here
	a.close(t)
	require.Equal(t, errcode.Closed, errcode.Of(b.rec.awaitDown(t).err))
	require.Equal(t, errcode.Closed, errcode.Of(c.rec.awaitDown(t).err))
	require.Equal(t, []string{"up", "up", "down", "down"}, a.rec.kinds("up", "down"))
	_, err := a.Dial(t.Context(), b.Addresses(), b.id)
	require.Equal(t, errcode.Closed, errcode.Of(err))
}

func TestCloseWithACause(t *testing.T) {
	a, b := start(t), start(t)
	a.dial(t, b).Close(errcode.New(errcode.ResourceExhausted, "test", "enough of you"))
	down := b.rec.awaitDown(t)
	require.Equal(t, errcode.ResourceExhausted, errcode.Of(down.err))
	require.ErrorContains(t, down.err, "enough of you")
	require.ErrorContains(t, down.err, a.id.String())
}

func TestHeartbeatsCarryTheGreeting(t *testing.T) {
	a := start(t, func(c *Config) {
		c.Greeting = func(types.InstanceID) Greeting { return Greeting{Version: 7, Floor: 5, Epoch: 9, StoreID: "5e"} }
	})
	b := start(t)
	s := b.dial(t, a)
	require.Equal(t, uint64(7), s.Hello().GetVersion())
	require.Equal(t, uint64(5), s.Hello().GetFloor())
	beat := b.rec.await(t, "heartbeat", func(x record) bool { return x.ev.GetHeartbeat() != nil })
	require.Equal(t, uint64(7), beat.ev.GetHeartbeat().GetVersion())
	require.Equal(t, uint64(5), beat.ev.GetHeartbeat().GetFloor())
}

func TestSendRefusesWhatThePeerWould(t *testing.T) {
	a, b := start(t), start(t)
	s := a.dial(t, b)
	for _, ev := range []*controlpb.Event{
		{},
		{Kind: &controlpb.Event_Drain{Drain: &controlpb.Drain{Ids: make([]uint64, MaxIDs+1)}}},
		{Kind: &controlpb.Event_Retire{Retire: &controlpb.Retire{Tokens: []uint64{0}}}},
	} {
		require.Equal(t, errcode.InvalidArgument, errcode.Of(s.Send(ev)))
	}
	require.NoError(t, s.Send(notify("alive")))
	b.rec.awaitNotify(t, "alive")
}
