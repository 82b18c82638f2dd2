package coherence

import (
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/types"
)

// A store without epochs has no revision of its own, but its heads may have one each (a hash of what they say). Taken for
// the store's, it made every read look as if the store had gone back: the head was published 20 times a second, for ever.
func TestRevisionOfAHeadIsNotTheStoresWithoutEpochs(t *testing.T) {
	const hash = 1<<63 + 7
	r := newPubRig(t, func(c *PublisherConfig) { c.Caps = StoreCaps{} })
	there := StoreRecord{
		Name: "kv", Owner: pubSelf, HeadRevision: hash,
		Head: &descriptor.Head{Name: "kv", Instance: pubSelf, Version: 10},
	}
	r.got(r.p.Changed(r.now, 10))
	one[StoreReadBack](t, r.got(r.p.Want(r.now, false)))
	one[StoreAcquire](t, r.got(r.p.ReadBack(r.now, StoreRecord{Name: "kv"})))
	one[StorePublish](t, r.got(r.p.Acquired(r.now, "", 0)))
	one[StoreReadBack](t, r.got(r.p.Published(r.now, hash)))
	require.Empty(t, r.got(r.p.ReadBack(r.now, there)))
	for range 5 {
		acts := r.pass(3 * types.Second)
		require.Empty(t, each[StorePublish](acts))
		require.Empty(t, each[StoreWentBack](acts))
		one[StoreReadBack](t, acts)
		require.Empty(t, r.got(r.p.ReadBack(r.now, there)))
	}

	// Nor does it stand above what is read later: the server was restarted, and a poll tells.
	gone := StoreRecord{Name: "kv"}
	one[StoreReadBack](t, r.got(r.p.RecordSeen(r.now, gone)))
	one[StoreAcquire](t, r.got(r.p.ReadBack(r.now, gone)))
	require.Equal(t, types.Version(10), one[RaiseVersion](t, r.got(r.p.Acquired(r.now, "", 0))).Above)
}
