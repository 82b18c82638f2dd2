package netaddr

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"mooncake_te/gocore/errcode"
)

const listenOp = "listen"

// Listen binds the address, or the first free port of its range. The network is "tcp", "tcp4" or "tcp6". An IPv4 literal
// binds IPv4 only: Go would make 0.0.0.0 listen on every IPv6 address too, which is more than was asked for. Errors are
// INVALID_ARGUMENT (port in use, name that does not resolve, address of another host) with a hint.
func Listen(ctx context.Context, network string, a Address) (net.Listener, error) {
	if network == "tcp" && a.isV4() {
		network = "tcp4"
	}
	var lc net.ListenConfig
	var last error
	for port := int(a.PortLo); port <= int(a.PortHi); port++ {
		l, err := lc.Listen(ctx, network, net.JoinHostPort(a.Host, strconv.Itoa(port)))
		if err == nil {
			return l, nil
		}
		if last = err; !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return nil, listenError(a, last)
}

func (a Address) isV4() bool { return net.ParseIP(a.Host).To4() != nil }

func listenError(a Address, err error) *errcode.Error {
	detail, hint := "cannot listen on "+a.String(), ""
	code := errcode.InvalidArgument
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && a.PortLo != a.PortHi:
		detail = fmt.Sprintf("every port of %s is in use", a)
		hint = "give a wider range, or port 0 for any free port"
	case errors.Is(err, syscall.EADDRINUSE):
		detail = fmt.Sprintf("port in use: %s", a)
		hint = "another process listens there; give another port, a range lo-hi, or 0 for any free port"
	case errors.As(err, &dns):
		detail = fmt.Sprintf("the name %q does not resolve", a.Host)
		hint = "check the spelling, /etc/hosts and DNS, or give an IP address"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		detail = fmt.Sprintf("%s is no address of this host", a.Host)
		hint = "give an address of a local interface, or 0.0.0.0 for all of them"
	case errors.Is(err, syscall.EACCES):
		hint = "ports below 1024 need a privilege; give a higher one"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		code, hint = errcode.ResourceExhausted, "raise the limit of open files (ulimit -n)"
	}
	return errcode.New(code, listenOp, detail).WithHint(hint).Wrap(err)
}
