package open

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/netaddr"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/store/httplink"
)

const (
	maxURL      = 8 << 10 // bytes
	maxHosts    = 32
	defaultPort = 2379 // of etcd
)

// Location is what a URL says.
type Location struct {
	Kind     string   // etcd, http, https, mem
	Hosts    []string // etcd: host:port of each member
	User     string   // etcd
	Password string
	TLS      *bool  // etcd: what ?tls= says; nil: nothing
	Name     string // mem
}

// Parse reads a URL. Errors are INVALID_ARGUMENT, say which part is wrong and hide whatever may be a password.
func Parse(text string) (Location, error) {
	scheme, rest, ok := cutScheme(text)
	switch {
	case len(text) > maxURL:
		return Location{}, bad("...", fmt.Sprintf("%d bytes, at most %d", len(text), maxURL), "")
	case text == "" || text == "p2p" || text == "P2PHANDSHAKE":
		return Location{}, bad(text, "it names no store", "peer to peer needs none")
	case !ok:
		return Location{}, bad(text, "the scheme is missing", "write etcd://host:2379, http://host:port/metadata or mem://NAME")
	}
	switch scheme {
	case "etcd":
		return parseEtcd(text, rest)
	case "http", "https":
		const form = "a token goes before the host: http://:TOKEN@host:port/metadata"
		if strings.ContainsAny(rest, "?#") { // httplink says so too, but repeats it
			return Location{}, bad(text, "a query or fragment has no meaning here", form)
		}
		_, token, err := httplink.Parse(text)
		if before, _, has := strings.Cut(rest, "@"); err != nil && has { // what it repeats may be a token in a wrong place
			why := "it is not http(s)://[:TOKEN@]host[:port]/path"
			if user, _, _ := strings.Cut(before, ":"); user != "" {
				why = "a user name before the '@' has no meaning here"
			}
			return Location{}, bad(text, why, form)
		}
		return Location{Kind: scheme, Password: token}, err
	case "mem":
		if err := store.CheckName(op, rest); err != nil {
			return Location{}, bad(text, "what follows mem:// is no name", "use letters, digits, '-', '_' and '.'")
		}
		return Location{Kind: "mem", Name: rest}, nil
	}
	hint := "there are etcd://, http://, https:// and mem://"
	if slices.Contains([]string{"redis", "rediss"}, scheme) {
		hint = "Redis is not available in this version; " + hint
	}
	return Location{}, bad(text, fmt.Sprintf("the scheme %.20q is not known", scheme), hint)
}

// cutScheme splits a URL before "://", if what stands there may be a scheme: else it may be part of a secret.
func cutScheme(text string) (scheme, rest string, ok bool) {
	scheme, rest, ok = strings.Cut(text, "://")
	if !ok || strings.ContainsFunc(scheme, func(r rune) bool { return !unicode.IsLetter(r) }) {
		return "", text, false
	}
	return scheme, rest, true
}

func parseEtcd(text, rest string) (Location, error) {
	const form = "write etcd://user:password@host:port,host:port?tls=1"
	at := Location{Kind: "etcd"}
	rest, query, _ := strings.Cut(rest, "?")
	if strings.Contains(query, "@") {
		return Location{}, bad(text, "user or password is not percent-encoded", "write '?' as %3F, '@' as %40; "+form)
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		user, password, _ := strings.Cut(rest[:i], ":")
		var failed [2]error
		at.User, failed[0] = url.PathUnescape(user)
		at.Password, failed[1] = url.PathUnescape(password)
		switch {
		case failed[0] != nil || failed[1] != nil || strings.Contains(rest[:i], "@"):
			return Location{}, bad(text, "user or password is not percent-encoded", "write '@' as %40, ':' as %3A, '/' as %2F, '%' as %25")
		case at.User == "":
			return Location{}, bad(text, "the user before the '@' is missing", form)
		case strings.ContainsAny(rest[:i], "/?#,"):
			return Location{}, bad(text, "the password stands in a wrong place, or is not percent-encoded", form)
		}
		rest = rest[i+1:]
	}
	hosts := strings.TrimSuffix(rest, "/")
	if strings.ContainsAny(hosts, "/#") {
		return Location{}, bad(text, "a path has no meaning here", "a prefix of keys is given as metadata_cluster_id; "+form)
	}
	// Stock Mooncake separates members by ';'.
	for _, host := range strings.FieldsFunc(hosts, func(r rune) bool { return r == ',' || r == ';' }) {
		one, err := member(host)
		if err != nil && at.User != "" {
			// Perhaps user and password were written after the host: what stands here is not repeated.
			return Location{}, bad("etcd://...", "what follows the '@' is no host:port", form)
		}
		if err != nil {
			return Location{}, bad(text, err.Error(), form)
		}
		at.Hosts = append(at.Hosts, one)
	}
	switch {
	case len(at.Hosts) == 0:
		return Location{}, bad(text, "the host is missing", form)
	case len(at.Hosts) > maxHosts:
		return Location{}, bad(text, fmt.Sprintf("%d hosts, at most %d", len(at.Hosts), maxHosts), "")
	}
	return at, at.query(text, query)
}

// member reads one host:port.
func member(text string) (string, error) {
	if strings.Contains(text, "://") {
		return "", fmt.Errorf("the scheme stands once, before the first host")
	}
	address, err := netaddr.Parse(text)
	if err == nil && address.PortLo == 0 && !strings.HasSuffix(text, ":0") {
		address.PortLo, address.PortHi = defaultPort, defaultPort
	}
	if err == nil {
		err = address.CheckDial()
	}
	if err != nil {
		if typed := (*errcode.Error)(nil); errors.As(err, &typed) {
			return "", fmt.Errorf("host %.80q: %s", text, typed.Detail)
		}
		return "", err
	}
	return net.JoinHostPort(address.Host, strconv.Itoa(int(address.PortLo))), nil
}

func (at *Location) query(text, query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return bad(text, "what follows the '?' cannot be read", "?tls=1")
	}
	for key, value := range values {
		switch {
		case key == "password" || key == "user" || key == "token":
			return bad(text, fmt.Sprintf("%q stands in a wrong place", key), "user and password go before the host, or the password in metadata_token")
		case key != "tls":
			return bad(text, fmt.Sprintf("the option %.40q is not known", key), "there is ?tls=1")
		case len(value) != 1 || value[0] != "0" && value[0] != "1":
			return bad(text, "tls is neither 0 nor 1", "?tls=1")
		}
		on := value[0] == "1"
		at.TLS = &on
	}
	return nil
}

func bad(text, why, hint string) error {
	return errcode.New(errcode.InvalidArgument, op, fmt.Sprintf("metadata URL %q: %s", redact(text), why)).WithHint(hint)
}

// redact leaves out what may be a secret, also of a URL that is all wrong: all before the last '@', and the query.
func redact(text string) string {
	scheme, rest, ok := cutScheme(text)
	if ok {
		scheme += "://"
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = "...@" + rest[i+1:]
	}
	if before, _, has := strings.Cut(rest, "?"); has {
		rest = before + "?..."
	}
	if len(rest) > 200 {
		rest = rest[:200] + "..."
	}
	return scheme + rest
}
