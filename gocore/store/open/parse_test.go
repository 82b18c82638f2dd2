package open

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
)

func TestParse(t *testing.T) {
	yes, no := true, false
	for text, want := range map[string]Location{
		"etcd://h":                            {Kind: "etcd", Hosts: []string{"h:2379"}},
		"etcd://h:1/":                         {Kind: "etcd", Hosts: []string{"h:1"}},
		"etcd://10.0.0.1:2379,h2,[fe80::1]:5": {Kind: "etcd", Hosts: []string{"10.0.0.1:2379", "h2:2379", "[fe80::1]:5"}},
		"etcd://10.0.0.1:1;10.0.0.2:2":        {Kind: "etcd", Hosts: []string{"10.0.0.1:1", "10.0.0.2:2"}},
		"etcd://[::1]":                        {Kind: "etcd", Hosts: []string{"[::1]:2379"}},
		"etcd://u:p@h:1":                      {Kind: "etcd", Hosts: []string{"h:1"}, User: "u", Password: "p"},
		"etcd://u:p:q@h:1":                    {Kind: "etcd", Hosts: []string{"h:1"}, User: "u", Password: "p:q"},
		"etcd://u@h:1":                        {Kind: "etcd", Hosts: []string{"h:1"}, User: "u"},
		"etcd://a%40b:%3A%2F%3F%25+@h:1":      {Kind: "etcd", Hosts: []string{"h:1"}, User: "a@b", Password: ":/?%+"},
		"etcd://h:1?tls=1":                    {Kind: "etcd", Hosts: []string{"h:1"}, TLS: &yes},
		"etcd://h:1/?tls=0":                   {Kind: "etcd", Hosts: []string{"h:1"}, TLS: &no},
		"http://h:8080/metadata":              {Kind: "http"},
		"https://:tok@h/metadata":             {Kind: "https", Password: "tok"},
		"mem://x":                             {Kind: "mem", Name: "x"},
	} {
		at, err := Parse(text)
		require.NoError(t, err, "%s", text)
		require.Equal(t, want, at, "%s", text)
	}
}

func TestParseRefuses(t *testing.T) {
	for text, says := range map[string]string{
		"":                                 "names no store",
		"p2p":                              "names no store",
		"host:2379":                        "scheme is missing",
		"://h":                             "not known",
		"redis://h:1":                      "Redis is not available",
		"ETCD://h:1":                       "not known",
		"zookeeper://h":                    "zookeeper",
		"etcd://":                          "host is missing",
		"etcd:///":                         "host is missing",
		"etcd://,":                         "host is missing",
		"etcd://:2379":                     "host is missing",
		"etcd://h:":                        "h:",
		"etcd://h:0":                       "port",
		"etcd://h:65536":                   "port",
		"etcd://h:1-2":                     "range",
		"etcd://h:x":                       "h:x",
		"etcd://0.0.0.0:1":                 "wildcard",
		"etcd://::1:2379":                  "colon",
		"etcd://h:1,etcd://h:2":            "path",
		"etcd://h:1/prefix":                "metadata_cluster_id",
		"etcd://h:1#x":                     "path",
		"etcd://h:1?ssl=1":                 `"ssl" is not known`,
		"etcd://h:1?tls=yes":               "tls is neither",
		"etcd://h:1?tls=1&tls=1":           "tls is neither",
		"etcd://h:1?%zz":                   "cannot be read",
		"etcd://h:1?password=s3cret":       "wrong place",
		"etcd://@h:1":                      "user before",
		"etcd://:s3cret@h:1":               "user before",
		"etcd://u:s3cret%zz@h:1":           "percent-encoded",
		"etcd://u:s3@cret@h:1":             "percent-encoded",
		"etcd://u:s3/cret@h:1":             "wrong place",
		"etcd://u:s3?cret@h:1":             "percent-encoded",
		"etcd://u:s3#cret@h:1":             "wrong place",
		"etcd://h1:1,u:s3cret@h:1":         "wrong place",
		"etcd://h:1@u:s3cret":              "follows the '@'",
		"redis://u:s3cret@h:1":             "Redis",
		"u:s3cret@h:1":                     "scheme is missing",
		"http://u:s3cret@h:1/metadata":     "user name",
		"http://h:1/metadata?x=s3cret":     "query",
		"http:///metadata":                 "host is missing",
		"https://h:99999/metadata":         "99999",
		"mem://":                           "no name",
		"mem://a/b":                        "no name",
		"etcd://" + hosts(33):              "33 hosts",
		"etcd://" + longText(9<<10) + ":1": "bytes",
	} {
		_, err := Parse(text)
		require.Equal(t, errcode.InvalidArgument, errcode.Of(err), "%s: %v", text, err)
		require.ErrorContains(t, err, says, "%s", text)
		require.NotContains(t, err.Error(), "s3cret")
		require.NotContains(t, err.Error(), "cret@", "half a password is too much: %s", text)
		require.Less(t, len(err.Error()), 1000)
	}
}

func hosts(n int) string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("h%d", i))
	}
	return strings.Join(out, ",")
}

func longText(n int) string { return strings.Repeat("x", n) }

// FuzzParse: no text makes it panic, what it accepts can be dialled, and no error repeats a secret.
func FuzzParse(f *testing.F) {
	const secret = "Zq7-s3cret-kW4"
	for _, text := range []string{
		"etcd://user:@h:1", "etcd://h:1,h:2?tls=1", "http://:@h:1/metadata", "mem://x", "etcd://u:%40@[::1]:2379;h",
		"etcd://?tls=0", "redis://:@", "etcd://h@u:", "@", "etcd://a,b@c/d?e#f", "http://0#0", "http://h/a@b:c?d",
	} {
		for i := 0; i <= len(text); i += 6 { // few, so that there is time for more than these
			f.Add(text[:i], text[i:])
		}
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		at, err := Parse(before + after)
		if err == nil && at.Kind == "etcd" {
			require.NotEmpty(t, at.Hosts)
			for _, host := range at.Hosts {
				_, err := member(host)
				require.NoError(t, err)
			}
		}
		if err != nil {
			require.Equal(t, errcode.InvalidArgument, errcode.Of(err))
		}
		// A password, wherever somebody puts it before an '@'.
		if _, err = Parse(before + ":" + secret + "@" + after); err != nil {
			require.NotContains(t, err.Error(), secret)
		}
	})
}
