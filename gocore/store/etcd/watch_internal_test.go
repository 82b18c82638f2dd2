package etcd

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	mvccpb "go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/internal/etcdtest"
	"mooncake_te/gocore/internal/netfault"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/types"
)

func testKeys(t testing.TB, cluster string) store.Keys {
	k, err := store.NewKeys(cluster)
	require.NoError(t, err)
	return k
}

// TestWatchFromCompactedRevision: between the listing and the watch the past is forgotten: the watch ends, with the code
// on which its user lists again.
func TestWatchFromCompactedRevision(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{})
	s, err := Open(Options{Endpoints: c.Endpoints(), Keys: testKeys(t, "c")})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	v, err := s.list(ctx, "watch")
	require.NoError(t, err)
	o, err := s.Acquire(ctx, store.AcquireRequest{Name: "x", Instance: types.NewInstanceID(), TTL: time.Minute})
	require.NoError(t, err)
	result, err := s.Publish(ctx, o, store.PublishRequest{Head: []byte("head")})
	require.NoError(t, err)
	c.Compact()
	_, err = s.follow(ctx, v, func(e store.Event) { t.Errorf("event %+v", e) })
	require.ErrorIs(t, err, rpctypes.ErrCompacted)
	require.Equal(t, errcode.MetadataUnavailable, errcode.Of(s.explain("watch", false, err)))
	v, err = s.list(ctx, "watch")
	require.NoError(t, err)
	require.Equal(t, result.Revision, v.listing().Records[0].HeadRevision)
}

// TestSilentWatchEnds: it is the watch itself that notices, long before the connection's keep-alive does.
func TestSilentWatchEnds(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{})
	proxy := netfault.NewProxy(t, c.Members[0].Address())
	s, err := Open(Options{Endpoints: []string{proxy.Address()}, Keys: testKeys(t, "c"), Progress: 20 * time.Millisecond})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	ended := make(chan error, 1)
	progress := make(chan struct{}, 1000)
	go func() {
		ended <- s.Watch(context.Background(), func(e store.Event) {
			if e.Progress != nil {
				progress <- struct{}{}
			}
		})
	}()
	for range 20 { // four times as many rounds as it has patience: a quiet store is no silent one
		<-progress
	}
	proxy.Silence()
	require.ErrorIs(t, <-ended, errSilent)
}

func put(key, value string, revision int64) *mvccpb.Event {
	return &mvccpb.Event{Type: mvccpb.Event_PUT, Kv: &keyValue{Key: []byte(key), Value: []byte(value), ModRevision: revision}}
}

func del(key string, revision int64) *mvccpb.Event {
	return &mvccpb.Event{Type: mvccpb.Event_DELETE, Kv: &keyValue{Key: []byte(key), ModRevision: revision}}
}

func TestViewAppliesEvents(t *testing.T) {
	k := testKeys(t, "c")
	me := types.NewInstanceID()
	value := encodeOwner(store.Ownership{Instance: me, StoreID: "id", Lease: "1f"})
	v := newView(k, 10, (&Options{}).filled().Logger)
	v.put(put(k.StoreID(), "id", 3).Kv)

	// One step of the store is one change, and several steps are several.
	changed, err := v.apply([]*mvccpb.Event{
		put(k.Owner("x"), value, 9), // of the listed revision: known
		put(k.Owner("x"), value, 11), del(k.Head("x"), 11),
		put(k.Head("x"), "one", 12),
		put(k.Head("x"), "two", 13),
		put(k.Ours()+"elsewhere", "?", 14), put(k.Owner("a/b"), value, 14),
		del(k.Owner("x"), 15), del(k.Head("x"), 15),
		del(k.Owner("never"), 16),
	})
	require.NoError(t, err)
	owner := store.Owner{Instance: me, StoreID: "id", Epoch: 11}
	require.Equal(t, []store.Record{
		{Name: "x", StoreID: "id", Revision: 11, Owner: owner},
		{Name: "x", StoreID: "id", Revision: 12, Owner: owner, Head: []byte("one"), HeadRevision: 12},
		{Name: "x", StoreID: "id", Revision: 13, Owner: owner, Head: []byte("two"), HeadRevision: 13},
		{Name: "x", StoreID: "id", Revision: 15},
	}, changed)
	require.Empty(t, v.names, "nothing is kept of what is gone")
	require.EqualValues(t, 16, v.revision)

	// What cannot be read replaces nothing that could.
	_, err = v.apply([]*mvccpb.Event{put(k.Owner("x"), value, 17)})
	require.NoError(t, err)
	changed, err = v.apply([]*mvccpb.Event{put(k.Owner("x"), "{", 18)})
	require.NoError(t, err)
	require.Empty(t, changed)
	require.EqualValues(t, 17, v.record("x").Owner.Epoch)

	// Another store ID ends it, after what came before.
	changed, err = v.apply([]*mvccpb.Event{put(k.Head("x"), "three", 19), put(k.StoreID(), "other", 20)})
	require.ErrorIs(t, err, errStoreID)
	require.Len(t, changed, 1)
	v.storeID = "id"
	_, err = v.apply([]*mvccpb.Event{del(k.StoreID(), 21)})
	require.ErrorIs(t, err, errStoreID)
	v.storeID = ""
	_, err = v.apply([]*mvccpb.Event{put(k.StoreID(), "first", 22)})
	require.NoError(t, err, "the first ID of a store changes nothing that was known")
}

func TestViewWithoutClusterSeesNoOther(t *testing.T) {
	k, other := testKeys(t, ""), testKeys(t, "other")
	value := encodeOwner(store.Ownership{Instance: types.NewInstanceID(), StoreID: "id"})
	v := newView(k, 1, (&Options{}).filled().Logger)
	changed, err := v.apply([]*mvccpb.Event{put(other.StoreID(), "theirs", 2), put(other.Owner("x"), value, 3), put(other.Head("x"), "h", 4)})
	require.NoError(t, err)
	require.Empty(t, changed)
	require.Empty(t, v.storeID)
	require.Empty(t, v.names)
}

// TestProgressIsHeldBack: an answer may come ahead of events that it covers, so it counts when the next one comes.
func TestProgressIsHeldBack(t *testing.T) {
	p := progress{least: 10}
	answers := func(revision int64) int64 {
		proved, ok, err := p.answer(revision)
		require.NoError(t, err)
		if !ok {
			return 0
		}
		return proved
	}
	require.Zero(t, answers(10))
	require.EqualValues(t, 10, answers(12))
	p.least = 12 // the event that the answer covered
	require.EqualValues(t, 12, answers(12))
	p.least = 13
	require.Zero(t, answers(13), "the one held is older than what was told")
	require.EqualValues(t, 13, answers(13))
	// A member that is behind proves nothing; one that stays behind is left.
	p.least = 20
	for range patience {
		require.Zero(t, answers(15))
	}
	_, _, err := p.answer(15)
	require.ErrorIs(t, err, errBehind)
}

func TestOwnerValue(t *testing.T) {
	o := store.Ownership{Name: "x", Instance: types.NewInstanceID(), StoreID: types.NewInstanceID().String(), Lease: leaseText(0x7fffffffffffffff)}
	owner, err := decodeOwner([]byte(encodeOwner(o)), 7)
	require.NoError(t, err)
	require.Equal(t, store.Owner{Instance: o.Instance, StoreID: o.StoreID, Epoch: 7}, owner)
	lease, err := parseLease(o.Lease)
	require.NoError(t, err)
	require.EqualValues(t, 0x7fffffffffffffff, lease)
	_, err = parseOwnership("renew", store.Ownership{Lease: "of another store"})
	require.Equal(t, errcode.InvalidArgument, errcode.Of(err))
}

// FuzzOwnerValue: whatever lies under an owner key is an owner or an error.
func FuzzOwnerValue(f *testing.F) {
	f.Add([]byte(encodeOwner(store.Ownership{Instance: types.NewInstanceID(), StoreID: "id", Lease: "1"})))
	f.Add([]byte(`{"instance":"00000000000000000000000000000000"}`))
	f.Add([]byte(`{"instance":"0123456789abcdef0123456789ABCDEF","later":[1]}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		owner, err := decodeOwner(value, 1)
		require.Equal(t, err == nil, owner.Owned())
	})
}

func TestExplainUnknown(t *testing.T) {
	s, err := Open(Options{Endpoints: []string{"127.0.0.1:1"}})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	for _, c := range []struct {
		err     error
		code    errcode.Code
		unknown bool
	}{
		{context.DeadlineExceeded, errcode.MetadataUnavailable, true},
		{errors.New("connection reset"), errcode.MetadataUnavailable, true},
		{rpctypes.ErrTimeout, errcode.MetadataUnavailable, true},
		{rpctypes.ErrTimeoutDueToLeaderFail, errcode.MetadataUnavailable, true},
		{rpctypes.ErrLeaderChanged, errcode.MetadataUnavailable, true},
		{rpctypes.ErrStopped, errcode.MetadataUnavailable, true},
		{rpctypes.ErrNoLeader, errcode.MetadataUnavailable, false},
		{rpctypes.ErrLeaseNotFound, errcode.MetadataUnavailable, false},
		{rpctypes.ErrNoSpace, errcode.MetadataRefused, true},
		{rpctypes.ErrRequestTooLarge, errcode.MetadataRefused, false},
		{rpctypes.ErrPermissionDenied, errcode.MetadataRefused, false},
		{rpctypes.ErrAuthFailed, errcode.MetadataRefused, false},
		{rpctypes.ErrCorrupt, errcode.MetadataRefused, false},
		{rpctypes.ErrGRPCNoSpace, errcode.MetadataRefused, true},
	} {
		err := s.explain("publish", true, c.err)
		require.Equal(t, c.code, errcode.Of(err), "%v", err)
		require.Equal(t, c.unknown, store.IsUnknown(err), "%v", err)
		require.False(t, store.IsUnknown(s.explain("get", false, c.err)))
	}
}

func TestStockKeysOfALease(t *testing.T) {
	k := stockKeys{byLease: map[string]map[string]bool{}}
	key := func(names ...string) (out []store.StockKey) {
		for _, n := range names {
			out = append(out, store.StockKey{Key: n})
		}
		return out
	}
	require.Empty(t, k.begin("1", key("a", "b")))
	require.Equal(t, []string{"b"}, k.begin("1", key("a")))
	require.Equal(t, []string{"b"}, k.begin("1", key("a")), "not known to be gone until that is confirmed")
	k.deleted("1", []string{"b"})
	require.Equal(t, []string{"a"}, k.begin("1", nil))
	k.deleted("1", []string{"a"})
	require.Empty(t, k.byLease)
	require.Empty(t, k.begin("2", nil))
	k.begin("2", key("c"))
	k.forget("2")
	require.Empty(t, k.byLease)
}
