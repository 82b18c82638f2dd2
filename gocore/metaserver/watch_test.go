package metaserver

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/store/httpapi"
)

func TestWatchListsThenFollows(t *testing.T) {
	var c clock
	r := start(t, Options{now: c.now})
	o := r.acquire("x", 10*time.Second)
	w := r.watch("", "")
	names, _ := w.listing()
	require.Equal(t, []string{"x"}, names)
	revision := r.publish("x", o, 0, "head", httpapi.StockKey{Key: "ram/x", Value: []byte("stock")})
	record, _ := w.change()
	require.Equal(t, revision, record.HeadRevision)
	require.Equal(t, "head", string(record.Head))
	require.Nil(t, record.Stock, "streams do not carry what may be large")
	c.advance(11 * time.Second)
	r.record("y") // any step ends what is due
	record, _ = w.change()
	require.Nil(t, record.Owner)
	require.Nil(t, record.Head)
	require.Greater(t, record.Revision, revision)
}

// A client that comes back is told what it missed while the ring has it, and else everything.
func TestWatchResumes(t *testing.T) {
	r := start(t, Options{limits: tableLimits{bytes: 1 << 20, keys: 100, clusters: 10, ringEvents: 8, ringBytes: 1 << 20}})
	o := r.acquire("x", time.Minute)
	w := r.watch("", "")
	_, id := w.listing()
	w.end()
	last := r.publish("x", o, 0, "1")
	r.acquire("y", time.Minute)
	w = r.watch("", id)
	record, id := w.change()
	require.Equal(t, "1", string(record.Head))
	record, _ = w.change()
	require.Equal(t, "y", record.Name)
	w.end()
	w = r.watch("", id)
	record, id = w.change()
	require.Equal(t, "y", record.Name, "from the event after the one named")
	w.end()
	for i := range 9 {
		last = r.publish("x", o, last, fmt.Sprint(i))
	}
	w = r.watch("", id)
	names, id := w.listing()
	require.ElementsMatch(t, []string{"x", "y"}, names)
	w.end()

	for _, bad := range []string{"", "x", "7", "00000000000000000000000000000000.1", id + "0", strings.Replace(id, ".", ".-", 1)} {
		w = r.watch("", bad)
		names, _ = w.listing()
		require.Len(t, names, 2, bad)
		w.end()
	}
	status, _ := r.post(httpapi.RemakePath, httpapi.Remake{Seen: o.StoreID}, nil)
	require.Equal(t, http.StatusOK, status)
	w = r.watch("", id)
	names, _ = w.listing()
	require.Len(t, names, 2, "revisions mean nothing under another store ID")
}

func TestWatchSeesOnlyItsCluster(t *testing.T) {
	r := start(t, Options{})
	w := r.watch("?cluster=here&progress_ms=100", "")
	names, _ := w.listing()
	require.Empty(t, names)
	r.acquire("elsewhere", time.Minute)
	status, _ := r.post(httpapi.AcquirePath, httpapi.Acquire{
		Cluster: "here", Name: "x", Instance: "00000000000000000000000000000001", TTLMillis: 60_000,
	}, nil)
	require.Equal(t, http.StatusOK, status)
	record, _ := w.change()
	require.Equal(t, "x", record.Name)
	// A remake elsewhere does not end it; progress goes on.
	r.post(httpapi.RemakePath, httpapi.Remake{Seen: r.record("x").StoreID}, nil)
	for {
		e, err := w.events.Next()
		require.NoError(t, err)
		require.Equal(t, httpapi.EventProgress, e.Kind)
		var mark httpapi.Mark
		require.NoError(t, json.Unmarshal(e.Data, &mark))
		if mark.Revision == 3 {
			return
		}
	}
}

func endReason(w *watching) string {
	for {
		e := w.next()
		if e.Kind != httpapi.EventEnd {
			continue
		}
		var reason httpapi.Reason
		require.NoError(w, json.Unmarshal(e.Data, &reason))
		return reason.Reason
	}
}

func TestWatchEnds(t *testing.T) {
	r := start(t, Options{})
	w := r.watch("", "")
	w.listing()
	r.post(httpapi.RemakePath, httpapi.Remake{Seen: r.record("x").StoreID}, nil)
	require.Equal(t, wasRemade, endReason(w))
	w = r.watch("", "")
	w.listing()
	require.NoError(t, r.Close())
	require.Equal(t, closing, endReason(w))
}

// A watcher that does not read costs the server nothing: it is cut off, and may list again.
func TestSlowWatcherIsCut(t *testing.T) {
	times := times{header: time.Minute, body: time.Minute, write: 200 * time.Millisecond, idle: time.Minute, progress: time.Minute, close: time.Second}
	r := start(t, Options{times: times})
	conn, err := net.Dial("tcp", r.Address())
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	require.NoError(t, conn.(*net.TCPConn).SetReadBuffer(4096))
	_, err = fmt.Fprintf(conn, "GET /metadata%s HTTP/1.1\r\nHost: x\r\n\r\n", httpapi.WatchPath)
	require.NoError(t, err)
	o := r.acquire("x", time.Minute)
	head := strings.Repeat("h", httpapi.MaxHead)
	var last uint64
	for r.counter(`watches_cut_total{reason="slow"}`) == "" {
		last = r.publish("x", o, last, head) // until all buffers on the way are full
	}
	w := r.watch("", "")
	names, _ := w.listing()
	require.Equal(t, []string{"x"}, names)
	r.eventually("watchers", "1")
}

// One that falls so far behind that the ring has gone on is told so.
func TestOvertakenWatcherIsCut(t *testing.T) {
	r := start(t, Options{})
	table := r.table
	table.ring.init(4, 1<<20)
	o := r.acquire("x", time.Minute)
	var last uint64
	for i := range 4 {
		last = r.publish("x", o, last, fmt.Sprint(i))
	}
	frames, upTo, _, reason := table.follow("", 1)
	require.Len(t, frames, 4)
	require.Equal(t, uint64(5), upTo)
	require.Empty(t, reason)
	r.publish("x", o, last, "one more")
	_, _, _, reason = table.follow("", 1)
	require.Equal(t, tooSlow, reason)
}
