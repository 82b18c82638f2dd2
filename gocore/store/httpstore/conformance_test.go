package httpstore_test

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"mooncake_te/gocore/internal/netfault"
	"mooncake_te/gocore/metaserver"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/store/conformance"
	"mooncake_te/gocore/store/httplink"
	"mooncake_te/gocore/store/httpstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quiet keeps the server's lines out of the tests' output.
func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// running is one server that can be ended and started again on its port.
type running struct {
	*metaserver.Server
	options metaserver.Options
}

func start(t testing.TB, o metaserver.Options) *running {
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	o.Log = quiet()
	s, err := metaserver.Start(o)
	require.NoError(t, err)
	o.Listen = s.Address()
	r := &running{Server: s, options: o}
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

func (r *running) restart(t testing.TB) {
	require.NoError(t, r.Close())
	s, err := metaserver.Start(r.options)
	require.NoError(t, err)
	r.Server = s
}

func open(t testing.TB, url, cluster string) *httpstore.Store {
	keys, err := store.NewKeys(cluster)
	require.NoError(t, err)
	s, err := httpstore.New(httpstore.Options{
		Options: httplink.Options{URL: url}, Keys: keys, Poll: 20 * time.Millisecond, Silence: time.Second,
	})
	require.NoError(t, err)
	return s
}

func put(t testing.TB, base, key string, value []byte) {
	request, err := http.NewRequest(http.MethodPut, base+"?key="+url.QueryEscape(key), bytes.NewReader(value))
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode)
}

func TestConformance(t *testing.T) {
	server := start(t, metaserver.Options{})
	conformance.Run(t, conformance.Case{
		Open: func(t testing.TB, cluster string) store.Store { return open(t, server.URL(), cluster) },
		Linked: func(t testing.TB, cluster string) (store.Store, conformance.Link) {
			p := netfault.NewProxy(t, server.Address())
			return open(t, "http://"+p.Address()+"/metadata", cluster), p
		},
		TTL: time.Second,
		Server: conformance.Server{
			Restart: server.restart,
			Forgets: true,
			Wipe:    server.restart,
			PutStock: func(t testing.TB, cluster, key string, value []byte) {
				keys, err := store.NewKeys(cluster)
				require.NoError(t, err)
				put(t, server.URL(), keys.Stock()+key, value)
			},
		},
	})
}
