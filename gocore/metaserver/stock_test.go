package metaserver

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/store/httpapi"
)

func key(k string) string { return "?key=" + url.QueryEscape(k) }

// What stock clients send and what the servers of stock Mooncake answer.
func TestStockClients(t *testing.T) {
	r := start(t, Options{})
	for _, step := range []struct {
		method, target, body string
		status               int
		says                 string
	}{
		{"GET", "", "", 400, "metadata key is required"},
		{"GET", key(" "), "", 400, "metadata key is required"},
		{"GET", key("mooncake/ram/x"), "", 404, "metadata not found"},
		{"DELETE", key("mooncake/ram/x"), "", 404, "metadata not found"},
		{"PUT", key("mooncake/ram/x"), `{"name":"x"}`, 200, "metadata updated"},
		{"GET", key("mooncake/ram/x"), "", 200, `{"name":"x"}`},
		{"GET", "?key=mooncake%2fram%2Fx", "", 200, `{"name":"x"}`},
		{"GET", "?key=mooncake/ram/x", "", 200, `{"name":"x"}`},
		{"GET", key("  mooncake/ram/x "), "", 200, `{"name":"x"}`},
		{"PUT", key("mooncake/ram/x"), `{"name":"y"}`, 200, "metadata updated"},
		{"GET", key("mooncake/ram/x"), "", 200, `{"name":"y"}`},
		{"PUT", key("mooncake/rpc_meta/x"), "one", 200, "metadata updated"},
		{"PUT", key("mooncake/rpc_meta/x"), "one", 200, "metadata updated"},
		{"PUT", key("mooncake/rpc_meta/x"), "two", 400, "Duplicate rpc_meta key not allowed"},
		{"GET", key("mooncake/rpc_meta/x"), "", 200, "one"},
		{"DELETE", key("mooncake/rpc_meta/x"), "", 200, "metadata deleted"},
		{"PUT", key("mooncake/rpc_meta/x"), "two", 200, "metadata updated"},
		{"PUT", key("anything else"), "\x00\xff", 200, "metadata updated"},
		{"GET", key("anything else"), "", 200, "\x00\xff"},
		{"PUT", key("empty"), "", 200, "metadata updated"},
		{"GET", key("empty"), "", 200, ""},
		{"POST", key("mooncake/ram/x"), "", 405, "Method not allowed"},
		{"PUT", key(strings.Repeat("k", maxStockKey+1)), "", 400, "the key is longer than"},
		{"GET", "/nothing/here", "", 404, "404 page not found"},
	} {
		status, text := r.do(step.method, step.target, []byte(step.body))
		require.Equal(t, step.status, status, "%+v: %s", step, text)
		if step.status == 200 {
			require.Equal(t, step.says, text, "%+v", step)
		} else {
			require.Contains(t, text, step.says, "%+v", step)
		}
	}
}

// What an owner publishes for stock readers lies on its lease, and goes with it; what a stock client wrote over it stays.
func TestStockCopiesLieOnTheLease(t *testing.T) {
	var c clock
	r := start(t, Options{now: c.now})
	o := r.acquire("x", 10*time.Second)
	stock := []httpapi.StockKey{{Key: "ram/x", Value: []byte("ours")}, {Key: "rpc_meta/x", Value: []byte("address")}}
	r.publish("x", o, 0, "head", stock...)
	_, text := r.do("GET", key("mooncake/ram/x"), nil)
	require.Equal(t, "ours", text)
	require.Equal(t, "ours", string(r.record("x").Stock))

	status, _ := r.do("PUT", key("mooncake/rpc_meta/x"), []byte("address"))
	require.Equal(t, 200, status)
	c.advance(10 * time.Second)
	status, _ = r.do("GET", key("mooncake/ram/x"), nil)
	require.Equal(t, 404, status)
	_, text = r.do("GET", key("mooncake/rpc_meta/x"), nil)
	require.Equal(t, "address", text)
	require.Nil(t, r.record("x").Owner)
}

// Two owners that publish the same key: the last writer has it, and the first one's end does not take it away.
func TestStockKeyOfTwoOwners(t *testing.T) {
	r := start(t, Options{})
	x, y := r.acquire("x", time.Minute), r.acquire("y", time.Minute)
	r.publish("x", x, 0, "head", httpapi.StockKey{Key: "rpc_meta/shared", Value: []byte("x's")})
	r.publish("y", y, 0, "head", httpapi.StockKey{Key: "rpc_meta/shared", Value: []byte("y's")})
	status, _ := r.post(httpapi.ReleasePath, httpapi.Holder{Name: "x", Owner: x}, nil)
	require.Equal(t, 200, status)
	_, text := r.do("GET", key("mooncake/rpc_meta/shared"), nil)
	require.Equal(t, "y's", text)
	r.post(httpapi.ReleasePath, httpapi.Holder{Name: "y", Owner: y}, nil)
	status, _ = r.do("GET", key("mooncake/rpc_meta/shared"), nil)
	require.Equal(t, http.StatusNotFound, status)
	require.Zero(t, r.table.bytes)
}
