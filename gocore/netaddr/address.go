// Package netaddr is the one reader of network addresses: what users configure, what peers advertise, what is dialled.
//
// It parses ("host", "host:port", "host:lo-hi", "[v6]:port"), listens (with port ranges) and dials (happy eyeballs over
// every address of every name, resolved at each attempt). It knows nothing of what is spoken over a connection. Values
// are immutable; the functions keep no state, may be called from anywhere, and leave no goroutine behind.
package netaddr

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"mooncake_te/gocore/errcode"
)

// Address is a host with a port or a range of ports. PortLo = PortHi = 0 means "any port" to a listener, and that none
// was given; it cannot be dialled.
type Address struct {
	Host           string // an IP literal without brackets (a zone is kept), or a name
	PortLo, PortHi uint16 // equal unless a range was given
}

const parseOp = "parse address"

// MaxLen bounds an address in text: the longest DNS name, brackets, and a port range.
const MaxLen = 253 + 2 + 12

// Parse reads an address as users write it. Errors are INVALID_ARGUMENT and quote what was wrong.
func Parse(s string) (Address, error) {
	if s == "" {
		return Address{}, bad(s, "it is empty")
	}
	if len(s) > MaxLen {
		return Address{}, bad(s[:32]+"...", fmt.Sprintf("it has %d characters, more than %d", len(s), MaxLen))
	}
	host, port, hasPort, err := split(s)
	if err != nil {
		return Address{}, err
	}
	a := Address{Host: host}
	if !hasPort {
		return a, nil
	}
	a.PortLo, a.PortHi, err = parsePorts(s, port)
	return a, err
}

// split separates host and port and checks the host.
func split(s string) (host, port string, hasPort bool, err error) {
	if s[0] == '[' {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return "", "", false, bad(s, "the closing ] is missing")
		}
		host = s[1:end]
		ip, perr := netip.ParseAddr(host)
		if perr != nil || !ip.Is6() {
			return "", "", false, bad(s, fmt.Sprintf("%q in brackets is no IPv6 address", host))
		}
		rest := s[end+1:]
		switch {
		case rest == "":
			return host, "", false, nil
		case rest[0] != ':':
			return "", "", false, bad(s, fmt.Sprintf("%q follows the ]", rest))
		}
		return host, rest[1:], true, nil
	}
	if strings.Count(s, ":") > 1 {
		return "", "", false, bad(s, "more than one colon outside brackets").WithHint("write IPv6 as [address]:port")
	}
	host, port, hasPort = strings.Cut(s, ":")
	if host == "" {
		return "", "", false, bad(s, "the host is missing").WithHint("write 127.0.0.1:port, or 0.0.0.0:port for every interface")
	}
	if why := checkHost(host); why != "" {
		return "", "", false, bad(s, why)
	}
	return host, port, hasPort, nil
}

// checkHost says what is wrong with an IPv4 literal or a name; "" if nothing.
func checkHost(host string) string {
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is4() {
		return ""
	}
	name := strings.TrimSuffix(host, ".")
	if len(name) > 253 {
		return fmt.Sprintf("the name has %d characters, more than 253", len(name))
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 {
			return fmt.Sprintf("a part of the name %q is empty or longer than 63 characters", host)
		}
		for i := range len(label) {
			if !nameByte(label[i]) {
				return fmt.Sprintf("character %q is not allowed in a host name", label[i:i+1])
			}
		}
		if label[0] == '-' || label[len(label)-1] == '-' {
			return fmt.Sprintf("part %q of the name begins or ends with a dash", label)
		}
	}
	// A name whose last part is a number would be taken for an IPv4 address by resolvers (RFC 1123, section 2.1).
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		return fmt.Sprintf("%q is neither an IPv4 address nor a name", host)
	}
	return ""
}

// nameByte allows the underscore: it is no host name by the letter, but container platforms make such names.
func nameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

func parsePorts(s, text string) (lo, hi uint16, err error) {
	loText, hiText, isRange := strings.Cut(text, "-")
	lo, err = parsePort(s, loText)
	if err != nil || !isRange {
		return lo, lo, err
	}
	if hi, err = parsePort(s, hiText); err != nil {
		return 0, 0, err
	}
	if lo == 0 || lo > hi {
		return 0, 0, bad(s, fmt.Sprintf("port range %q must be low-high with low >= 1", text))
	}
	return lo, hi, nil
}

func parsePort(s, text string) (uint16, error) {

	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0, bad(s, fmt.Sprintf("port %q is not a number from 0 to 65535", text))
	}
	return uint16(n), nil
}

// CheckDial says why the address cannot be dialled: it needs one port, not 0, and a host that is not a wildcard.
func (a Address) CheckDial() error {
	switch {
	case a.PortLo == 0:
		return bad(a.String(), "a port is needed to dial")
	case a.PortLo != a.PortHi:
		return bad(a.String(), "a port range cannot be dialled")
	case a.IsWildcard():
		return bad(a.String(), "a wildcard cannot be dialled").WithHint("name one address of the peer")
	}
	return nil
}

// IsWildcard reports whether the host stands for every interface (0.0.0.0 or ::).
func (a Address) IsWildcard() bool {
	ip, err := netip.ParseAddr(a.Host)
	return err == nil && ip.Unmap().IsUnspecified()
}

// IsName reports whether the host has to be resolved.
func (a Address) IsName() bool {
	_, err := netip.ParseAddr(a.Host)
	return err != nil
}

// WithPort returns the address with exactly this port.
func (a Address) WithPort(port uint16) Address { a.PortLo, a.PortHi = port, port; return a }

// String writes what Parse reads.
func (a Address) String() string {
	switch {
	case a.PortHi != a.PortLo:
		return net.JoinHostPort(a.Host, fmt.Sprintf("%d-%d", a.PortLo, a.PortHi))
	case a.PortLo != 0:
		return net.JoinHostPort(a.Host, strconv.Itoa(int(a.PortLo)))
	case strings.Contains(a.Host, ":"):
		return "[" + a.Host + "]"
	}
	return a.Host
}

func bad(s, why string) *errcode.Error {
	return errcode.New(errcode.InvalidArgument, parseOp, fmt.Sprintf("%q: %s", s, why))
}
