package metaserver

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/store/httpapi"
	"mooncake_te/gocore/types"
)

// Bad requests are refused with a reason, and change nothing.
func TestBadRequests(t *testing.T) {
	r := start(t, Options{})
	instance := types.NewInstanceID().String()
	owner := fmt.Sprintf(`{"instance":%q,"store_id":%q,"epoch":1}`, instance, instance)
	const isJSON = "application/json"
	for _, c := range []struct {
		path, kind, body string
		status           int
		says             string
	}{
		{httpapi.AcquirePath, "text/plain", "{}", 415, "application/json"},
		{httpapi.AcquirePath, "", "{}", 415, "application/json"},
		{httpapi.AcquirePath, isJSON, "", 400, "cannot be read"},
		{httpapi.AcquirePath, isJSON, "{", 400, "cannot be read"},
		{httpapi.AcquirePath, isJSON, strings.Repeat("[", 50_000), 400, "cannot be read"},
		{httpapi.AcquirePath, isJSON, "{\"name\":\"\xff\"}", 400, "not UTF-8"},
		{httpapi.AcquirePath, isJSON, `{"name":""}`, 400, "it is empty"},
		{httpapi.AcquirePath, isJSON, `{"name":"a/b"}`, 400, "contains '/'"},
		{httpapi.AcquirePath, isJSON, `{"name":"x","cluster":"a/b"}`, 400, "cluster"},
		{httpapi.AcquirePath, isJSON, `{"name":"x","cluster":"a/"}`, 400, "cluster"},
		{httpapi.AcquirePath, isJSON, `{"name":"x","instance":"12"}`, 400, "instance ID"},
		{httpapi.AcquirePath, isJSON, `{"name":"x","instance":"00000000000000000000000000000000"}`, 400, "zero"},
		{httpapi.AcquirePath, isJSON, `{"name":"x","instance":"` + instance + `"}`, 400, "ttl_ms is 0"},
		{httpapi.AcquirePath, isJSON, `{"name":"x","instance":"` + instance + `","ttl_ms":-1}`, 400, "ttl_ms is -1"},
		{httpapi.AcquirePath, isJSON, `{"name":"x","instance":"` + instance + `","ttl_ms":9223372036854775807}`, 400, "ttl_ms"},
		{httpapi.AcquirePath, isJSON, `{"name":"x","instance":"` + instance + `","ttl_ms":1e400}`, 400, "cannot be read"},
		{httpapi.AcquirePath, isJSON, `{"name":"x","instance":"` + instance + `","ttl_ms":1000,"takeover":{"owner":{}}}`, 400, "takeover"},
		{httpapi.AcquirePath, isJSON, strings.Repeat(" ", httpapi.MaxSmall+1), 413, "more than"},
		{httpapi.PublishPath, isJSON, `{"name":"x","owner":` + owner + `}`, 400, "the head is empty"},
		{httpapi.PublishPath, isJSON, `{"name":"x","head":"aGVhZA=="}`, 400, "owner"},
		{httpapi.PublishPath, isJSON, `{"name":"x","head":"not base64","owner":` + owner + `}`, 400, "cannot be read"},
		{httpapi.PublishPath, isJSON, `{"name":"x","head":"` + strings.Repeat("AAAA", httpapi.MaxHead/3+1) + `","owner":` + owner + `}`, 413, "64 KiB"},
		{httpapi.PublishPath, isJSON, `{"name":"x","head":"aGVhZA==","owner":` + owner + `,"stock":[{"key":"other/x"}]}`, 400, "neither"},
		{httpapi.RenewPath, isJSON, `{"name":"x"}`, 400, "owner"},
		{httpapi.ReleasePath, isJSON, `{"name":"x","owner":{"instance":"` + instance + `","store_id":"7","epoch":1}}`, 400, "store_id"},
		{httpapi.RemakePath, isJSON, `{"cluster":"\u0000"}`, 400, "cluster"},
	} {
		status, text := r.do(http.MethodPost, c.path, []byte(c.body), "Content-Type", c.kind)
		require.Equal(t, c.status, status, "%.80s: %s", c.body, text)
		require.Contains(t, text, c.says, "%.80s", c.body)
	}
	for _, target := range []string{
		httpapi.RecordPath, httpapi.RecordPath + "?name=%00", httpapi.RecordPath + "?name=%ff", httpapi.RecordsPath + "?cluster=a/b",
		httpapi.WatchPath + "?progress_ms=1", httpapi.WatchPath + "?progress_ms=x",
	} {
		status, text := r.do(http.MethodGet, target, nil)
		require.Equal(t, http.StatusBadRequest, status, "%s: %s", target, text)
	}
	status, _ := r.do(http.MethodGet, httpapi.AcquirePath, nil)
	require.Equal(t, http.StatusMethodNotAllowed, status)
	require.Zero(t, r.table.revision)
	require.Empty(t, r.table.spaces)
}

func TestNothingIsKeptOfReading(t *testing.T) {
	r := start(t, Options{})
	for i := range 100 {
		status, _ := r.do(http.MethodGet, fmt.Sprintf("%s?cluster=c%d&name=x", httpapi.RecordPath, i), nil)
		require.Equal(t, http.StatusOK, status)
	}
	require.Empty(t, r.table.spaces)
	// And yet a cluster has one store ID, before and after something was written, and after it is gone.
	before := r.record("x")
	o := r.acquire("x", time.Minute)
	require.Equal(t, before.StoreID, o.StoreID)
	r.post(httpapi.ReleasePath, httpapi.Holder{Name: "x", Owner: o}, nil)
	require.Empty(t, r.table.spaces)
	require.Equal(t, before.StoreID, r.record("x").StoreID)
}

// A server that is full refuses what is new, and takes again once something went.
func TestBounds(t *testing.T) {
	r := start(t, Options{limits: tableLimits{bytes: 100_000, keys: 3, clusters: 2, ringEvents: 16, ringBytes: 1 << 20}})
	a := r.acquire("a", time.Minute)
	r.publish("a", a, 0, strings.Repeat("h", 60_000))
	b := r.acquire("b", time.Minute)
	status, text := r.post(httpapi.PublishPath, httpapi.Publish{Name: "b", Owner: b, Head: make([]byte, 50_000)}, nil)
	require.Equal(t, http.StatusInsufficientStorage, status)
	require.Contains(t, text, "at most 100000 bytes")
	status, _ = r.do("PUT", key("k"), make([]byte, 50_000))
	require.Equal(t, http.StatusInsufficientStorage, status)
	r.acquire("c", time.Minute)
	status, text = r.post(httpapi.AcquirePath, httpapi.Acquire{Name: "d", Instance: a.Instance, TTLMillis: 1000}, nil)
	require.Equal(t, http.StatusInsufficientStorage, status)
	require.Contains(t, text, "at most 3 names")
	for i := range 3 {
		status, _ = r.do("PUT", key(fmt.Sprint(i)), []byte("v"))
		require.Equal(t, http.StatusOK, status)
	}
	status, text = r.do("PUT", key("one more"), []byte("v"))
	require.Equal(t, http.StatusInsufficientStorage, status)
	require.Contains(t, text, "at most 3 stock keys")

	r.post(httpapi.ReleasePath, httpapi.Holder{Name: "a", Owner: a}, nil)
	r.publish("b", b, 0, strings.Repeat("h", 50_000))
	r.post(httpapi.AcquirePath, httpapi.Acquire{Cluster: "one", Name: "d", Instance: a.Instance, TTLMillis: 1000}, nil)
	r.post(httpapi.ReleasePath, httpapi.Holder{Name: "b", Owner: b}, nil)
	status, text = r.post(httpapi.AcquirePath, httpapi.Acquire{Cluster: "two", Name: "d", Instance: a.Instance, TTLMillis: 1000}, nil)
	require.Equal(t, http.StatusInsufficientStorage, status)
	require.Contains(t, text, "at most 2 clusters")
}

func TestListing(t *testing.T) {
	r := start(t, Options{})
	var empty httpapi.Records
	status, text := r.do(http.MethodGet, httpapi.RecordsPath, nil)
	require.Equal(t, http.StatusOK, status)
	require.NoError(t, httpapi.Decode([]byte(text), &empty))
	require.Empty(t, empty.Records)
	for i := range 300 {
		name := fmt.Sprint("name ", i)
		r.publish(name, r.acquire(name, time.Minute), 0, strings.Repeat("h", 1000))
	}
	var all httpapi.Records
	_, text = r.do(http.MethodGet, httpapi.RecordsPath, nil)
	require.NoError(t, httpapi.Decode([]byte(text), &all))
	require.Len(t, all.Records, 300)
	require.Equal(t, uint64(600), all.Revision)
	require.Equal(t, empty.StoreID, all.StoreID)
	for _, record := range all.Records {
		_, err := record.Store()
		require.NoError(t, err)
		require.Len(t, record.Head, 1000)
	}
}
