package conformance

import (
	"strings"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store"
)

func testNamesOdd(f *fixture) {
	f.names = []string{
		"10.0.0.7:12345", "[fe80::1%eth0]:1", "a b", "ä", "日本", "a%2Fb", "a?key=b&c=d#e", "..", ".", "a\\b", `a"b'`, "+", "a+b",
		"store_id", "owner", "head", "x", "X", "x ", " x", "x.", "\u00a0", "a\u0301", "\u00e1", strings.Repeat("n", store.MaxNameLen),
	}
	owned := map[string]store.Ownership{}
	for _, name := range f.names {
		owned[name] = f.acquire(f.s, name)
		f.publish(f.s, owned[name], 0, "head of "+name)
	}
	reader := f.open()
	for _, name := range f.names {
		r := f.get(reader, name)
		o := owned[name]
		require.True(f, o.Holds(&r), "%q", name)
		require.Equal(f, "head of "+name, string(r.Head))
	}
	w := f.watch(reader)
	require.ElementsMatch(f, f.names, w.names(w.listing()))
	for _, name := range f.names {
		require.NoError(f, f.s.Release(f.ctx(), owned[name]))
		r := w.until(func(r *store.Record) bool { return r.Name == name })
		require.True(f, r.Empty())
	}
}

func testNamesRefused(f *fixture) {
	for _, bad := range []string{"", "a/b", "/", "a\x00b", "a\nb", "\x7f", "\xff", strings.Repeat("n", 1024)} {
		_, err := f.s.Get(f.ctx(), bad)
		f.code(errcode.InvalidArgument, err)
		_, err = f.s.Acquire(f.ctx(), f.request(bad))
		f.code(errcode.InvalidArgument, err)
		_, err = f.s.Publish(f.ctx(), store.Ownership{Name: bad}, store.PublishRequest{Head: []byte("h")})
		f.code(errcode.InvalidArgument, err)
	}
}

// testClusters: two clusters of one server, and the one without a name, do not see each other.
func testClusters(f *fixture) {
	here := f.acquire(f.s, "x")
	f.publish(f.s, here, 0, "here")
	there := newFixture(f.T, f.c)
	r := f.get(there.s, "x")
	require.True(f, r.Empty())
	w := there.watch(there.s)
	require.Empty(f, w.names(w.listing()))
	o := there.acquire(there.s, "x")
	there.publish(there.s, o, 0, "there")
	w.until(func(r *store.Record) bool {
		return string(r.Head) == "there" || r.Head == nil && !f.caps.Push || o.Holds(r)
	})
	if f.caps.Epochs {
		require.NotEqual(f, here.StoreID, o.StoreID)
	}
	f.lost(there.s, here, 0, "into the other cluster")
	require.NoError(f, there.s.Release(f.ctx(), o))
	require.Equal(f, "here", string(f.get(f.s, "x").Head))

	none := f.c.Open(f, "")
	defer func() { require.NoError(f, none.Close()) }()
	r = f.get(none, "x")
	require.True(f, r.Empty())
	if i, ok := none.(interested); ok {
		i.Interest(func() []string { return f.names })
	}
	require.NotContains(f, w.names(f.watch(none).listing()), "x")
}
