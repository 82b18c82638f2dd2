package netaddr

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
)

func TestParse(t *testing.T) {
	for in, want := range map[string]Address{
		"127.0.0.1":            {Host: "127.0.0.1"},
		"127.0.0.1:0":          {Host: "127.0.0.1"},
		"127.0.0.1:8000":       {Host: "127.0.0.1", PortLo: 8000, PortHi: 8000},
		"127.0.0.1:8000-8009":  {Host: "127.0.0.1", PortLo: 8000, PortHi: 8009},
		"127.0.0.1:7-7":        {Host: "127.0.0.1", PortLo: 7, PortHi: 7},
		"localhost:65535":      {Host: "localhost", PortLo: 65535, PortHi: 65535},
		"node_1.pool-2.local.": {Host: "node_1.pool-2.local."},
		"[::1]":                {Host: "::1"},
		"[::1]:80":             {Host: "::1", PortLo: 80, PortHi: 80},
		"[fe80::1%eth0]:1-2":   {Host: "fe80::1%eth0", PortLo: 1, PortHi: 2},
		"[::ffff:10.0.0.1]:9":  {Host: "::ffff:10.0.0.1", PortLo: 9, PortHi: 9},
		"1and1.example:1":      {Host: "1and1.example", PortLo: 1, PortHi: 1},
	} {
		got, err := Parse(in)
		require.NoError(t, err, in)
		require.Equal(t, want, got, in)
		again, err := Parse(got.String())
		require.NoError(t, err, got)
		require.Equal(t, got, again)
	}
}

func TestParseRefuses(t *testing.T) {
	for in, says := range map[string]string{
		"":                                "empty",
		":80":                             "host is missing",
		"::1":                             "more than one colon",
		"::1:80":                          "more than one colon",
		"[::1":                            "closing ]",
		"[::1]80":                         "follows the ]",
		"[127.0.0.1]:80":                  "no IPv6",
		"[node]:80":                       "no IPv6",
		"[]:80":                           "no IPv6",
		"host:":                           `port ""`,
		"host:http":                       `port "http"`,
		"host:65536":                      "65536",
		"host:-1":                         `port ""`,
		"host:+1":                         `port "+1"`,
		"host:5-":                         `port ""`,
		"host:9-5":                        "low-high",
		"host:0-5":                        "low-high",
		"host:1-2-3":                      "2-3",
		"256.1.1.1:80":                    "neither an IPv4",
		"010.0.0.1:80":                    "neither an IPv4",
		"10.1:80":                         "neither an IPv4",
		"a b:80":                          "not allowed",
		"a..b:80":                         "empty or longer",
		"-a:80":                           "dash",
		"a-.b:80":                         "dash",
		"h\x00st:80":                      "not allowed",
		"http://host:80":                  "more than one colon",
		"user@host:80":                    "not allowed",
		strings.Repeat("a", 64):           "longer than 63",
		strings.Repeat("a.", 126) + "bcd": "more than 253",
		strings.Repeat("x", 1<<20):        "characters, more than",
	} {
		_, err := Parse(in)
		require.ErrorContains(t, err, says, "%.40q", in)
		require.Equal(t, errcode.InvalidArgument, errcode.Of(err))
		require.Less(t, len(err.Error()), 2*MaxLen+100)
	}
}

func TestAddressKinds(t *testing.T) {
	for in, want := range map[string][3]bool{ // wildcard, name, can be dialled
		"0.0.0.0:1":        {true, false, false},
		"[::]:1":           {true, false, false},
		"[::ffff:0.0.0.0]": {true, false, false},
		"127.0.0.1:1":      {false, false, true},
		"[::1]:1":          {false, false, true},
		"localhost:1":      {false, true, true},
		"localhost":        {false, true, false},
		"localhost:1-2":    {false, true, false},
	} {
		a, err := Parse(in)
		require.NoError(t, err)
		require.Equal(t, want, [3]bool{a.IsWildcard(), a.IsName(), a.CheckDial() == nil}, in)
	}
	require.Equal(t, "[::1]:7", Address{Host: "::1"}.WithPort(7).String())
}

func TestInterleave(t *testing.T) {
	p := netip.MustParseAddr
	require.Equal(t,
		[]netip.Addr{p("::1"), p("1.1.1.1"), p("::2"), p("::3")},
		interleave([]netip.Addr{p("::1"), p("::2"), p("::3"), p("::ffff:1.1.1.1")}))
	require.Empty(t, interleave(nil))
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"127.0.0.1:1-2", "[::1%lo]:80", "a.b:0", "[", "]:", "x:1-", "::"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := Parse(s)
		if err != nil {
			require.Equal(t, errcode.InvalidArgument, errcode.Of(err))
			return
		}
		require.LessOrEqual(t, a.PortLo, a.PortHi)
		again, err := Parse(a.String())
		require.NoError(t, err, "%q came from %q", a, s)
		require.Equal(t, a, again)
	})
}
