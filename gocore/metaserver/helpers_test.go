package metaserver

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"mooncake_te/gocore/store/httpapi"
	"mooncake_te/gocore/types"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds waits for what must happen.
const patience = 30 * time.Second

// clock is stepped by the test.
type clock struct{ ns atomic.Int64 }

func (c *clock) now() time.Duration      { return time.Duration(c.ns.Load()) }
func (c *clock) advance(d time.Duration) { c.ns.Add(int64(d)) }

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// rig is a server and a client without any caching of connections between tests.
type rig struct {
	testing.TB
	*Server
	client *http.Client
}

func start(t testing.TB, o Options) *rig {
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	o.Log = quiet
	s, err := Start(o)
	require.NoError(t, err)
	transport := &http.Transport{}
	r := &rig{t, s, &http.Client{Transport: transport, Timeout: patience}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		require.NoError(t, s.Close())
	})
	return r
}

func (r *rig) do(method, target string, body []byte, headers ...string) (int, string) {
	r.Helper()
	request, err := http.NewRequest(method, r.URL()+target, bytes.NewReader(body))
	require.NoError(r, err)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := r.client.Do(request)
	require.NoError(r, err)
	text, err := io.ReadAll(response.Body)
	require.NoError(r, err)
	require.NoError(r, response.Body.Close())
	return response.StatusCode, string(text)
}

func (r *rig) post(path string, document, into any) (int, string) {
	r.Helper()
	status, text := r.do(http.MethodPost, path, httpapi.Marshal(document), "Content-Type", "application/json")
	if status == http.StatusOK && into != nil {
		require.NoError(r, json.Unmarshal([]byte(text), into))
	}
	return status, text
}

func (r *rig) acquire(name string, ttl time.Duration) httpapi.Owner {
	r.Helper()
	var a httpapi.Acquired
	status, text := r.post(httpapi.AcquirePath, httpapi.Acquire{
		Name: name, Instance: types.NewInstanceID().String(), TTLMillis: ttl.Milliseconds(),
	}, &a)
	require.Equal(r, http.StatusOK, status, text)
	return a.Owner
}

func (r *rig) publish(name string, o httpapi.Owner, last uint64, head string, stock ...httpapi.StockKey) uint64 {
	r.Helper()
	var p httpapi.Published
	status, text := r.post(httpapi.PublishPath, httpapi.Publish{Name: name, Owner: o, Last: last, Head: []byte(head), Stock: stock}, &p)
	require.Equal(r, http.StatusOK, status, text)
	return p.Revision
}

func (r *rig) record(name string) httpapi.Record {
	r.Helper()
	status, text := r.do(http.MethodGet, httpapi.RecordPath+"?"+url.Values{"name": {name}}.Encode(), nil)
	require.Equal(r, http.StatusOK, status, text)
	var record httpapi.Record
	require.NoError(r, json.Unmarshal([]byte(text), &record))
	return record
}

// watching is one open stream.
type watching struct {
	testing.TB
	events *httpapi.Reader
	body   io.ReadCloser
	cancel context.CancelFunc
}

func (r *rig) watch(query, lastID string) *watching {
	r.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL()+httpapi.WatchPath+query, nil)
	require.NoError(r, err)
	if lastID != "" {
		request.Header.Set("Last-Event-ID", lastID)
	}
	client := &http.Client{Transport: r.client.Transport}
	response, err := client.Do(request)
	require.NoError(r, err)
	require.Equal(r, http.StatusOK, response.StatusCode)
	require.Equal(r, "text/event-stream", response.Header.Get("Content-Type"))
	w := &watching{r.TB, httpapi.NewReader(response.Body), response.Body, cancel}
	r.Cleanup(w.end)
	return w
}

func (w *watching) end() {
	w.cancel()
	_ = w.body.Close()
}

// next is the next event that is no progress.
func (w *watching) next() httpapi.Event {
	w.Helper()
	for {
		e, err := w.events.Next()
		require.NoError(w, err)
		if e.Kind != httpapi.EventProgress {
			return e
		}
	}
}

// listing reads a whole listing and returns its names and the ID of its last event.
func (w *watching) listing() (names []string, id string) {
	w.Helper()
	require.Equal(w, httpapi.EventBegin, w.next().Kind)
	for {
		e := w.next()
		if e.Kind == httpapi.EventListed {
			return names, e.ID
		}
		require.Equal(w, httpapi.EventRecord, e.Kind)
		names = append(names, w.read(e).Name)
	}
}

func (w *watching) read(e httpapi.Event) httpapi.Record {
	w.Helper()
	var record httpapi.Record
	require.NoError(w, json.Unmarshal(e.Data, &record))
	return record
}

// change is the next event, which must be one, and its ID.
func (w *watching) change() (httpapi.Record, string) {
	w.Helper()
	e := w.next()
	require.Equal(w, httpapi.EventChange, e.Kind, "%s", e.Data)
	return w.read(e), e.ID
}
