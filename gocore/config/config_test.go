package config

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
)

func TestEmptyDocumentMeansDefaults(t *testing.T) {
	for _, doc := range []string{"", "  ", "{}"} {
		cfg, err := Parse([]byte(doc))
		require.NoError(t, err)
		require.Equal(t, Default(), cfg)
	}
}

func TestEveryProblemIsReportedAtOnce(t *testing.T) {
	_, err := Parse([]byte(`{"nmae": "x", "chunk_bytes": "big", "drain_ms": -1, "listen": "nowhere:99999",
		"psk": "short", "tls_cert": "a.pem", "log_level": "loud", "transports": ["carrier-pigeon"], "metadata": "carrier://u:secret@x"}`))
	require.Error(t, err)
	require.Equal(t, errcode.InvalidArgument, errcode.Of(err))
	for _, want := range []string{`unknown key "nmae"`, "chunk_bytes: want int", "drain_ms: -1", "listen:", "psk: 5 bytes",
		"tls_cert, tls_key and tls_ca", `log_level: "loud"`, "carrier-pigeon", `"carrier"`} {
		require.ErrorContains(t, err, want)
	}
	require.NotContains(t, err.Error(), "secret")
}

func TestWhatIsNoObjectIsRefused(t *testing.T) {
	for _, doc := range []string{"[]", "1", `"x"`, "{", "\xff"} {
		_, err := Parse([]byte(doc))
		require.Equal(t, errcode.InvalidArgument, errcode.Of(err), doc)
	}
}

func TestValuesOfTheDocumentWin(t *testing.T) {
	cfg, err := Parse([]byte(`{"name": "decode-0", "crc": false, "connections_per_peer": 4, "listen": "[::1]:7000-7010"}`))
	require.NoError(t, err)
	require.Equal(t, "decode-0", cfg.Name)
	require.False(t, cfg.CRC)
	require.Equal(t, 4, cfg.ConnectionsPerPeer)
}

func TestAnErrorNamesWhereItsValueCameFrom(t *testing.T) {
	_, err := Parse([]byte(`{"metadata_cache_ttl_ms": -1, "sources": {"metadata_cache_ttl_ms": "MC_METADATA_CACHE_TTL_MS"}}`))
	require.ErrorContains(t, err, "metadata_cache_ttl_ms: -1 is outside 0 .. 3600000 (set by MC_METADATA_CACHE_TTL_MS)")
}

// Each key stands in docs/config.md, and nothing else does.
func TestDocumentationNamesEveryKey(t *testing.T) {
	text, err := os.ReadFile("../../docs/config.md")
	require.NoError(t, err)
	documented := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if cell, _, ok := strings.Cut(strings.TrimPrefix(line, "|"), "|"); ok && strings.HasPrefix(line, "| `") {
			for _, m := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(cell, -1) {
				documented[m[1]] = true
			}
		}
	}
	keys := map[string]bool{}
	typ := reflect.TypeFor[Config]()
	for i := range typ.NumField() {
		key, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		keys[key] = true
	}
	require.Equal(t, keys, documented)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"name": "x", "listen": "127.0.0.1:1-2"}`))
	f.Add([]byte(`{"listen": [1], "": null}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		cfg, err := Parse(doc)
		if err == nil {
			require.NoError(t, cfg.Validate())
		} else {
			require.Equal(t, errcode.InvalidArgument, errcode.Of(err))
		}
	})
}

func TestErrorsRepeatNoSecret(t *testing.T) {
	for _, document := range []string{
		`{"metadata": "redis://user:s3cret@host"}`, `{"metadata": "user:s3cret@host:2379"}`, `{"metadata": "Etcd:user:s3cret@host"}`,
		`{"metadata": ["etcd://user:s3cret@host"]}`, `{"metadata_token": ["s3cret"]}`, `{"psk": {"key": "s3cret"}}`, `{"psk": "s3cret"}`,
	} {
		_, err := Parse([]byte(document))
		require.Error(t, err, document)
		require.NotContains(t, err.Error(), "s3cret", document)
	}
}
