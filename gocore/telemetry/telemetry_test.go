package telemetry

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

func TestTextHoldsWhatWasCounted(t *testing.T) {
	m := New(Gauges{Peers: func() float64 { return 3 }})
	m.Batches.WithLabelValues("READ", "COMPLETED").Add(2)
	m.PostRetries.Inc()
	text, err := m.Text()
	require.NoError(t, err)
	require.Contains(t, string(text), `mooncake_te_batches_total{op="READ",outcome="COMPLETED"} 2`)
	require.Contains(t, string(text), "mooncake_te_peers 3")
	require.Contains(t, string(text), "mooncake_te_post_retries_total 1")
}

func TestEnginesDoNotShareMetrics(t *testing.T) {
	a, b := New(Gauges{}), New(Gauges{})
	a.Publishes.Inc()
	text, err := b.Text()
	require.NoError(t, err)
	require.Contains(t, string(text), "mooncake_te_publishes_total 0")
}

// Names and labels in docs/metrics.md are those of the registry, and the other way round.
func TestDocumentationNamesEveryMetric(t *testing.T) {
	text, err := os.ReadFile("../../docs/metrics.md")
	require.NoError(t, err)
	documented := map[string]string{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) < 5 || !strings.HasPrefix(line, "| `") {
			continue
		}
		name := strings.Trim(strings.TrimSpace(cells[1]), "`")
		documented["mooncake_te_"+name] = strings.NewReplacer("`", "", " ", "").Replace(cells[3])
	}
	ch := make(chan *prometheus.Desc, 256)
	New(Gauges{}).Registry().Describe(ch)
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
