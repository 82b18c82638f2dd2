package coherence

import (
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/types"
)

func TestTokenIsForOneConnectionOnce(t *testing.T) {
	r := newOwnerRig(t)
	a := r.attach(peerA, 3)
	require.Len(t, a.Tokens, 3)
	require.Equal(t, r.Version(), a.Version)
	require.EqualValues(t, 77, a.Request)
	who, ok := r.TokenUsed(a.Tokens[0])
	require.True(t, ok)
	require.Equal(t, peerA, who)
	for _, tok := range []types.PathID{a.Tokens[0], 0, 12345} {
		_, ok = r.TokenUsed(tok)
		require.False(t, ok)
	}
	require.Empty(t, r.got(r.ConnGone(r.now, a.Tokens[1])), "not a connection")
	_, ok = r.TokenUsed(a.Tokens[1])
	require.True(t, ok)
	require.Empty(t, r.got(r.ConnGone(r.now, a.Tokens[0])))
	_, ok = r.TokenUsed(a.Tokens[0])
	require.False(t, ok, "gone is gone")
}

func TestAttachNeedsALiveSession(t *testing.T) {
	r := newOwnerRig(t)
	require.Empty(t, r.got(r.Attach(r.now, peerA, 1, 1)))
	tok := r.attach(peerA, 1).Tokens[0]
	r.got(r.SessionDown(r.now, peerA))
	require.Empty(t, r.got(r.Attach(r.now, peerA, 1, 1)))
	_, ok := r.TokenUsed(tok)
	require.False(t, ok, "data connections are accepted only inside a live session")
	r.got(r.SessionUp(r.now, peerA))
	_, ok = r.TokenUsed(tok)
	require.True(t, ok, "the token stayed good")
}

func TestTokensAreCapped(t *testing.T) {
	r := newOwnerRig(t, func(c *OwnerConfig) { c.MaxTokens = 4 })
	first := r.attach(peerA, 100).Tokens
	require.Len(t, first, 4)
	require.Empty(t, r.attach(peerA, 1).Tokens)
	require.Empty(t, r.attach(peerA, -5).Tokens)
	_, ok := r.TokenUsed(first[0])
	require.True(t, ok)
	require.Len(t, r.attach(peerA, 9).Tokens, 1, "connected tokens do not count")
	require.Len(t, r.attach(peerB, 9).Tokens, 4, "the cap is per peer")

	r.got(r.SessionUp(r.now, peerA)) // the ATTACHED of the old session may have been lost
	fresh := r.attach(peerA, 2).Tokens
	require.Len(t, fresh, 2)
	_, ok = r.TokenUsed(first[1])
	require.False(t, ok, "the oldest of an earlier session made room")
	_, ok = r.TokenUsed(first[3])
	require.True(t, ok)

	require.Len(t, r.attach(peerA, 4).Tokens, 2)
	require.Empty(t, r.attach(peerA, 4).Tokens)
	r.now += tokenLife
	require.Len(t, r.attach(peerA, 4).Tokens, 4)
	_, ok = r.TokenUsed(fresh[0])
	require.False(t, ok)
}

func TestRetireAnswersWhenTheHandlersHaveLeft(t *testing.T) {
	r := newOwnerRig(t)
	c1, c2 := r.connect(peerA), r.connect(peerA)
	unused := r.attach(peerA, 1).Tokens[0]
	acts := r.got(r.Retire(r.now, peerA, 5, []types.PathID{c1, unused, c2, 999}))
	require.Equal(t, []Action{KillConns{Peer: peerA, Tokens: []types.PathID{c1, c2}}}, acts)
	_, ok := r.TokenUsed(unused)
	require.False(t, ok, "one that arrives later is closed unread")
	require.Empty(t, r.got(r.Retire(r.now, peerA, 5, []types.PathID{c1, unused, c2})), "again: killed once, answered once")
	require.Empty(t, r.got(r.ConnGone(r.now, c1)))
	require.Equal(t, []Action{SendRetired{Peer: peerA, Nonce: 5}}, r.got(r.ConnGone(r.now, c2)))
	require.Equal(t, []Action{SendRetired{Peer: peerA, Nonce: 5}}, r.got(r.Retire(r.now, peerA, 5, []types.PathID{c1, c2})), "unknown: retired at once")
	require.Empty(t, r.Holders())
}

func TestRetireIsForOnesOwnTokens(t *testing.T) {
	r := newOwnerRig(t)
	conn, spare := r.connect(peerA), r.attach(peerA, 1).Tokens[0]
	r.attach(peerB, 1)
	require.Equal(t, []Action{SendRetired{Peer: peerB, Nonce: 5}}, r.got(r.Retire(r.now, peerB, 5, []types.PathID{conn, spare})))
	_, ok := r.TokenUsed(spare)
	require.True(t, ok, "another's token is not touched (S12)")
	require.Equal(t, []Action{SendRetired{Peer: peerC, Nonce: 6}}, r.got(r.Retire(r.now, peerC, 6, []types.PathID{conn})))
}

func TestRetiresOverlap(t *testing.T) {
	r := newOwnerRig(t)
	c1, c2 := r.connect(peerA), r.connect(peerA)
	r.got(r.Retire(r.now, peerA, 5, []types.PathID{c1}))
	require.Equal(t, []Action{KillConns{Peer: peerA, Tokens: []types.PathID{c2}}}, r.got(r.Retire(r.now, peerA, 6, []types.PathID{c1, c2})))
	require.Equal(t, []Action{SendRetired{Peer: peerA, Nonce: 5}}, r.got(r.ConnGone(r.now, c1)))
	require.Equal(t, []Action{SendRetired{Peer: peerA, Nonce: 6}}, r.got(r.ConnGone(r.now, c2)))
}

func TestRetiredIsNotSaidWithoutASession(t *testing.T) {
	r := newOwnerRig(t)
	conn := r.connect(peerA)
	r.got(r.Retire(r.now, peerA, 5, []types.PathID{conn}))
	r.got(r.SessionDown(r.now, peerA))
	require.Empty(t, r.got(r.ConnGone(r.now, conn)))
	r.got(r.SessionUp(r.now, peerA))
	require.Equal(t, []Action{SendRetired{Peer: peerA, Nonce: 5}}, r.got(r.Retire(r.now, peerA, 5, []types.PathID{conn})), "asked again, answered")
}

func TestRetiringTheLastPathLeavesTheDrain(t *testing.T) {
	r := newOwnerRig(t)
	id := r.all(10)
	conn := r.connect(peerA)
	r.drain(types.Second, id)
	r.localQuiet(id)
	r.got(r.Retire(r.now, peerA, 5, []types.PathID{conn}))
	acts := r.got(r.ConnGone(r.now, conn))
	require.Less(t, order[SendRetired](acts), order[CloseGates](acts))
	require.Equal(t, []types.InstanceID{peerA}, one[DrainDone](t, r.quiet(acts)).Report.Fenced)
}

func TestTimerOfAForgottenHolderTouchesNobody(t *testing.T) {
	r := newOwnerRig(t)
	conn := r.connect(peerA)
	r.got(r.SessionDown(r.now, peerA))
	r.got(r.ConnGone(r.now, conn)) // forgotten with its timer set
	next := r.connect(peerA)       // the same instance again
	require.Empty(t, r.got(r.Tick(r.now+100*types.Second)))
	require.Len(t, r.Holders(), 1)
	require.Empty(t, r.got(r.ConnGone(r.now, next)))
}
