package metaserver

import (
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// counter reads one metric's value as text; "" if it is not there.
func (r *rig) counter(name string) string {
	r.Helper()
	response, err := r.client.Get(strings.TrimSuffix(r.URL(), r.options.Path) + metricsPath)
	require.NoError(r, err)
	defer func() { require.NoError(r, response.Body.Close()) }()
	text, err := io.ReadAll(response.Body)
	require.NoError(r, err)
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "mooncake_te_metadata_"+name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (r *rig) eventually(name, want string) {
	r.Helper()
	require.Eventually(r, func() bool { return r.counter(name) == want }, patience, 5*time.Millisecond, "%s is not %s", name, want)
}

func TestMetrics(t *testing.T) {
	var c clock
	r := start(t, Options{now: c.now})
	o := r.acquire("x", time.Second)
	r.publish("x", o, 0, "head")
	r.do("PUT", key("k"), []byte("value"))
	r.do("GET", key("missing"), nil)
	require.Equal(t, "1", r.counter("names"))
	require.Equal(t, "1", r.counter("leases"))
	require.Equal(t, "1", r.counter("stock_keys"))
	require.Equal(t, "11", r.counter("bytes")) // x, head, k, value
	require.Equal(t, "2", r.counter("revision"))
	require.Equal(t, "1", r.counter(`requests_total{operation="acquire",status="200"}`))
	require.Equal(t, "1", r.counter(`requests_total{operation="stock",status="404"}`))
	c.advance(time.Second)
	r.record("x")
	require.Equal(t, "1", r.counter("leases_expired_total"))
	require.Equal(t, "0", r.counter("names"))
}

// docs/metadata-server.md lists exactly these metrics.
func TestDocumentationNamesEveryMetric(t *testing.T) {
	text, err := os.ReadFile("../../docs/metadata-server.md")
	require.NoError(t, err)
	documented := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(mooncake_te_metadata_\\w+)` \\| \\w+ \\|([^|]*)\\|").FindAllStringSubmatch(string(text), -1) {
		documented[m[1]] = strings.NewReplacer("`", "", " ", "").Replace(m[2])
	}
	r := start(t, Options{})
	ch := make(chan *prometheus.Desc, 64)
	r.metrics.registry.Describe(ch)
	close(ch)
	registered := map[string]string{}
	pattern := regexp.MustCompile(`fqName: "([^"]+)".*variableLabels: \{([^}]*)\}`)
	for d := range ch {
		m := pattern.FindStringSubmatch(d.String())
		require.NotNil(t, m, d.String())
		registered[m[1]] = strings.ReplaceAll(m[2], " ", "")
	}
	require.Equal(t, registered, documented)
}
