package httpstore_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/metaserver"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/store/httpapi"
	"mooncake_te/gocore/store/httplink"
	"mooncake_te/gocore/store/httpstore"
	"mooncake_te/gocore/types"
)

const patience = 30 * time.Second

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func openWith(t testing.TB, o httplink.Options) *httpstore.Store {
	s, err := httpstore.New(httpstore.Options{Options: o})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// What is no metadata server is refused, naming what answered; a write to it is not left open.
func TestWhatElseMayAnswer(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func(w http.ResponseWriter, r *http.Request)
		code   errcode.Code
		says   string
	}{
		{"another web server", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Server", "nginx")
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, "<html>404 Not Found</html>")
		}, errcode.MetadataRefused, "Server: nginx"},
		{"a page for everything", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>hello</html>") },
			errcode.MetadataRefused, "hello"},
		{"other JSON", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"server":"other"}`) },
			errcode.MetadataRefused, "neither"},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		},
			errcode.MetadataRefused, "status 302"},
		{"a gateway without a server", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
			errcode.MetadataUnavailable, "status 502"},
		{"a wish for a token", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) },
			errcode.MetadataRefused, "wants a token"},
		{"a newer protocol", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(httpapi.Marshal(httpapi.Info{Server: httpapi.ServerName, Protocol: httpapi.Protocol + 1}))
		}, errcode.VersionSkew, "speaks protocol 2"},
		{"an endless answer", func(w http.ResponseWriter, _ *http.Request) {
			for err := error(nil); err == nil; {
				_, err = w.Write(make([]byte, 1<<16))
			}
		}, errcode.MetadataRefused, "longer than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(c.answer))
			defer server.Close()
			s := openWith(t, httplink.Options{URL: server.URL + "/metadata"})
			_, err := s.Acquire(within(t), store.AcquireRequest{Name: "x", Instance: types.NewInstanceID(), TTL: time.Minute})
			require.Equal(t, c.code, errcode.Of(err), "%v", err)
			require.ErrorContains(t, err, c.says)
			require.ErrorContains(t, err, server.URL)
			require.False(t, store.IsUnknown(err))
		})
	}
}

// A server that answers nonsense where ours would not: reads are refused, writes are left open.
func TestNonsense(t *testing.T) {
	var says string
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, httpapi.InfoPath) {
			_, _ = w.Write(httpapi.Marshal(httpapi.Info{Server: httpapi.ServerName, Protocol: httpapi.Protocol}))
			return
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, says)
	}))
	defer server.Close()
	s := openWith(t, httplink.Options{URL: server.URL})
	o := store.Ownership{Name: "x", Instance: types.NewInstanceID(), StoreID: types.NewInstanceID().String(), Epoch: 1}
	const id = "0123456789abcdef0123456789abcdef"
	for _, says = range []string{
		"", "[", "\xff", "{}", `{"name":"y","store_id":"` + id + `"}`, `{"name":"x"}`, `{"name":"x","store_id":"` + id + `","revision":-1}`,
		`{"name":"x","store_id":"` + id + `","head_revision":1}`, `{"name":"x","store_id":"` + id + `","owner":{}}`, strings.Repeat("[", 20_000),
	} {
		status = http.StatusOK
		_, err := s.Get(within(t), "x")
		require.Equal(t, errcode.MetadataRefused, errcode.Of(err), "%.60s: %v", says, err)
		_, err = s.Renew(within(t), o)
		require.Equal(t, errcode.MetadataRefused, errcode.Of(err), "%.60s", says)
		for _, status = range []int{http.StatusOK, http.StatusConflict, http.StatusBadGateway, http.StatusInternalServerError} {
			_, err = s.Publish(within(t), o, store.PublishRequest{Head: []byte("h")})
			require.True(t, store.IsUnknown(err), "%d %.60s: %v", status, says, err)
		}
		status = http.StatusOK
		_, err = s.Acquire(within(t), store.AcquireRequest{Name: "x", Instance: o.Instance, TTL: time.Minute})
		require.True(t, store.IsUnknown(err), "%.60s: %v", says, err)
	}
	// What our server says it did not do was not done.
	says = `{"detail":"full"}`
	for code, want := range map[int]errcode.Code{
		http.StatusInsufficientStorage: errcode.MetadataRefused, http.StatusServiceUnavailable: errcode.MetadataUnavailable,
		http.StatusRequestEntityTooLarge: errcode.MetadataRefused, http.StatusBadRequest: errcode.InvalidArgument,
	} {
		status = code
		_, err := s.Publish(within(t), o, store.PublishRequest{Head: []byte("h")})
		require.Equal(t, want, errcode.Of(err), "%d", code)
		require.False(t, store.IsUnknown(err), "%d", code)
		require.ErrorContains(t, err, "full")
	}
}

// Streams that break the protocol end the watch with a reason, and tell nothing that was not whole.
func TestBrokenStreams(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef"
	begin := fmt.Sprintf("event: begin\ndata: {\"store_id\":%q,\"revision\":5}\n\n", id)
	record := func(kind string, revision int) string {
		return fmt.Sprintf("event: %s\ndata: {\"name\":\"x\",\"store_id\":%q,\"revision\":%d}\n\n", kind, id, revision)
	}
	const listed = "event: listed\ndata: {\"revision\":5}\n\n"
	var stream string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, httpapi.InfoPath) {
			_, _ = w.Write(httpapi.Marshal(httpapi.Info{Server: httpapi.ServerName, Protocol: httpapi.Protocol}))
			return
		}
		_, _ = io.WriteString(w, stream)
	}))
	defer server.Close()
	s := openWith(t, httplink.Options{URL: server.URL})
	for _, c := range []struct {
		stream string
		events int
		code   errcode.Code
		says   string
	}{
		{"", 0, errcode.MetadataUnavailable, "unexpected EOF"},
		{begin, 0, errcode.MetadataUnavailable, "unexpected EOF"},
		{begin + record("record", 3), 0, errcode.MetadataUnavailable, "unexpected EOF"},
		{begin + record("record", 3) + listed, 1, errcode.MetadataUnavailable, "unexpected EOF"},
		{begin + listed + record("change", 6) + "event: later\ndata: {}\n\n: note\n\n" + record("change", 7), 3, errcode.MetadataUnavailable, "unexpected EOF"},
		{begin + listed + "event: end\ndata: {\"reason\":\"enough\"}\n\n", 1, errcode.MetadataUnavailable, "enough"},
		{begin + begin, 0, errcode.MetadataRefused, "a second listing"},
		{listed, 0, errcode.MetadataRefused, "no listing began"},
		{record("change", 6), 0, errcode.MetadataRefused, "before the listing"},
		{begin + listed + record("change", 6) + record("change", 6), 2, errcode.MetadataRefused, "revision 6 after 6"},
		{begin + listed + "event: progress\ndata: {\"revision\":4}\n\n", 1, errcode.MetadataRefused, "revision 4 after 5"},
		{begin + listed + "event: change\ndata: {\n\n", 1, errcode.MetadataRefused, "change"},
		{"event: begin\ndata: \xff\n\n", 0, errcode.MetadataRefused, "UTF-8"},
		{"data: " + strings.Repeat("x", httpapi.MaxDocument+1<<16), 0, errcode.MetadataUnavailable, "longer than"},
	} {
		stream = c.stream
		events := 0
		err := s.Watch(within(t), func(store.Event) { events++ })
		require.Equal(t, c.code, errcode.Of(err), "%.200s: %v", c.stream, err)
		require.ErrorContains(t, err, c.says)
		require.Equal(t, c.events, events, "%.200s", c.stream)
	}
}

func TestToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte("sesame-sesame"), 0o600))
	server := start(t, metaserver.Options{TokenFile: file})
	inURL := strings.Replace(server.URL(), "http://", "http://:sesame-sesame@", 1)
	for _, good := range []httplink.Options{{URL: server.URL(), Token: "sesame-sesame"}, {URL: inURL}} {
		s := openWith(t, good)
		_, err := s.Get(within(t), "x")
		require.NoError(t, err)
		require.NotContains(t, s.Info().URL, "sesame")
	}
	for _, bad := range []httplink.Options{{URL: server.URL()}, {URL: inURL, Token: "wrong-sesame"}} {
		s := openWith(t, bad)
		_, err := s.Get(within(t), "x")
		require.Equal(t, errcode.MetadataRefused, errcode.Of(err))
		require.ErrorContains(t, err, "token")
		require.NotContains(t, err.Error(), "sesame")
	}
}

// Nothing that the environment says of proxies leads a metadata server's requests astray.
func TestNoProxyFromTheEnvironment(t *testing.T) {
	server := start(t, metaserver.Options{})
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "ALL_PROXY"} {
		t.Setenv(name, "http://127.0.0.1:1")
	}
	_, port, err := net.SplitHostPort(server.Address())
	require.NoError(t, err)
	// net/http leaves loopback addresses out by itself, so the name is one that only this dialler knows.
	s := openWith(t, httplink.Options{
		URL: "http://metadata.example:" + port + "/metadata",
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			require.Equal(t, "metadata.example:"+port, address)
			var d net.Dialer
			return d.DialContext(ctx, network, server.Address())
		},
	})
	_, err = s.Get(within(t), "x")
	require.NoError(t, err)
}

// A publish of 64 KiB with stock values of the largest size that any store takes.
func TestLargestPublish(t *testing.T) {
	server := start(t, metaserver.Options{})
	s := openWith(t, httplink.Options{URL: server.URL()})
	o, err := s.Acquire(within(t), store.AcquireRequest{Name: "x", Instance: types.NewInstanceID(), TTL: time.Minute})
	require.NoError(t, err)
	value := make([]byte, store.MaxStock-len("ram/x"))
	r, err := s.Publish(within(t), o, store.PublishRequest{
		Head: make([]byte, store.MaxHead), Stock: []store.StockKey{{Key: "ram/x", Value: value}},
	})
	require.NoError(t, err)
	require.NotZero(t, r.Revision)
	record, err := s.Get(within(t), "x")
	require.NoError(t, err)
	require.Len(t, record.Stock, len(value))
}

func BenchmarkPublish(b *testing.B) {
	server := start(b, metaserver.Options{})
	s := openWith(b, httplink.Options{URL: server.URL()})
	o, err := s.Acquire(within(b), store.AcquireRequest{Name: "x", Instance: types.NewInstanceID(), TTL: time.Hour})
	require.NoError(b, err)
	ctx, head := context.Background(), make([]byte, 500)
	var last uint64
	for b.Loop() {
		r, err := s.Publish(ctx, o, store.PublishRequest{Head: head, Last: last})
		if err != nil {
			b.Fatal(err)
		}
		last = r.Revision
	}
}

func BenchmarkGet(b *testing.B) {
	server := start(b, metaserver.Options{})
	s := openWith(b, httplink.Options{URL: server.URL()})
	ctx := context.Background()
	for b.Loop() {
		if _, err := s.Get(ctx, "x"); err != nil {
			b.Fatal(err)
		}
	}
}
