package metaserver

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/store/httpapi"
)

// FuzzRequests sends any document to every operation. Whatever it is, the server answers with a status that it means,
// and what it counts agrees with what it holds.
func FuzzRequests(f *testing.F) {
	const id = "0123456789abcdef0123456789abcdef"
	f.Add(uint8(0), []byte(`{"name":"x","instance":"`+id+`","ttl_ms":1000}`))
	f.Add(uint8(1), []byte(`{"name":"x","head":"aGVhZA==","owner":{"instance":"`+id+`","store_id":"`+id+`","epoch":1}}`))
	f.Add(uint8(2), []byte(`{"cluster":"c","name":"x","owner":{"instance":"`+id+`","store_id":"`+id+`","epoch":1}}`))
	f.Add(uint8(4), []byte(`{"seen":"`+id+`"}`))
	f.Add(uint8(5), []byte("mooncake/ram/x"))
	var c clock
	o := Options{Listen: "127.0.0.1:0", Log: quiet, now: c.now}
	if err := o.fill(); err != nil {
		f.Fatal(err)
	}
	o.limits = tableLimits{bytes: 1 << 20, keys: 100, clusters: 10, ringEvents: 100, ringBytes: 1 << 18}
	s := &Server{options: o, log: quiet, table: newTable(c.now, o.limits), large: make(chan struct{}, 1), listener: &listener{}}
	s.metrics = newMetrics(s)
	handler := s.handler()
	paths := []string{httpapi.AcquirePath, httpapi.PublishPath, httpapi.RenewPath, httpapi.ReleasePath, httpapi.RemakePath}
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		request := httptest.NewRequest("PUT", "/metadata?key=k", strings.NewReader(string(body)))
		if int(which) < len(paths) {
			request = httptest.NewRequest("POST", "/metadata"+paths[which], strings.NewReader(string(body)))
			request.Header.Set("Content-Type", "application/json")
		} else if which%2 == 1 {
			request.URL.RawQuery = "key=" + string(body)
		}
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, request)
		require.Contains(t, []int{200, 400, 409, 413, 507}, answer.Code, "%s", answer.Body)
		c.advance(100 * time.Millisecond)
		s.table.lock()
		defer s.table.mu.Unlock()
		var bytes int64
		names := 0
		for _, sp := range s.table.spaces {
			for name, e := range sp.names {
				require.True(t, e.owner.Owned())
				bytes += int64(len(name) + len(e.head))
				names++
			}
		}
		for key, v := range s.table.values {
			bytes += int64(len(key) + len(v.data))
		}
		require.Equal(t, bytes, s.table.bytes)
		require.Equal(t, names, s.table.names)
		require.Len(t, s.table.leases, names)
	})
}
