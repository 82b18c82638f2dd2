package netaddr

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"mooncake_te/gocore/errcode"
)

// Stagger is the pause before the next address is tried beside one that has not answered (RFC 8305, section 5).
const Stagger = 250 * time.Millisecond

const dialOp = "dial"

// Dial connects to the first of the addresses that answers. Names are resolved now and side by side, so that one slow
// resolver does not hold up a literal; attempts start in order, IPv6 and IPv4 of a name in turn, Stagger apart or as
// soon as one fails. All goroutines have ended and all other connections are closed when it returns.
//
// Errors: INVALID_ARGUMENT if no address could be dialled in principle, else PEER_UNREACHABLE naming each attempt, or
// the context's error as its cause.
func Dial(ctx context.Context, network string, addrs []string) (net.Conn, error) {
	if len(addrs) == 0 {
		return nil, errcode.New(errcode.InvalidArgument, dialOp, "no address given")
	}
	d := &race{network: network, found: make(chan resolved), tried: make(chan attempt)}
	var parsed []Address
	for _, s := range addrs {
		a, err := Parse(s)
		if err == nil {
			err = a.CheckDial()
		}
		if err != nil {
			d.errs = append(d.errs, err)
			continue
		}
		parsed = append(parsed, a)
	}
	if len(parsed) == 0 {
		return nil, errcode.New(errcode.InvalidArgument, dialOp, fmt.Sprintf("none of %q can be dialled", addrs)).Wrap(errors.Join(d.errs...))
	}
	conn, err := d.run(ctx, parsed)
	if err != nil {
		return nil, errcode.New(errcode.PeerUnreachable, dialOp, fmt.Sprintf("none of %q answered", addrs)).
			WithHint("is the peer running, and does it listen on an address that this host can reach?").Wrap(err)
	}
	return conn, nil
}

// race is one Dial: resolvers and attempts are goroutines that report over channels to the one that called it.
type race struct {
	network string
	found   chan resolved
	tried   chan attempt
	queues  [][]string // per address in the order given, what is still to be tried
	errs    []error
}

type resolved struct {
	index     int
	endpoints []string
	err       error
}

type attempt struct {
	conn net.Conn
	err  error
}

func (d *race) run(ctx context.Context, addrs []Address) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	d.queues = make([][]string, len(addrs))
	resolving, trying := 0, 0
	for i, a := range addrs {
		if a.IsName() {
			resolving++
			go func() {
				endpoints, err := lookup(ctx, a)
				d.found <- resolved{i, endpoints, err}
			}()
			continue
		}
		d.queues[i] = []string{a.String()}
	}
	timer := time.NewTimer(Stagger)
	defer timer.Stop()
	var won net.Conn
	mayStart := true
	for {
		if mayStart && won == nil {
			if endpoint, ok := d.next(); ok {
				trying++
				mayStart = false
				timer.Reset(Stagger)
				go func() {
					var nd net.Dialer
					conn, err := nd.DialContext(ctx, d.network, endpoint)
					d.tried <- attempt{conn, err}
				}()
			}
		}
		if resolving == 0 && trying == 0 {
			cancel()
			if won == nil {
				return nil, errors.Join(d.errs...)
			}
			return won, nil
		}
		select {
		case r := <-d.found:
			resolving--
			d.queues[r.index] = r.endpoints
			if r.err != nil {
				d.errs = append(d.errs, r.err)
			}
		case t := <-d.tried:
			trying--
			switch {
			case t.err != nil:
				d.errs = append(d.errs, t.err)
				mayStart = true
			case won != nil:
				_ = t.conn.Close()
			default:
				won = t.conn
				cancel()
			}
		case <-timer.C:
			mayStart = true
		}
	}
}

func (d *race) next() (string, bool) {
	for i, q := range d.queues {
		if len(q) > 0 {
			d.queues[i] = q[1:]
			return q[0], true
		}
	}
	return "", false
}

// lookup resolves a name and puts its families in turn, the one the system prefers first.
func lookup(ctx context.Context, a Address) ([]string, error) {
	var r net.Resolver
	ips, err := r.LookupNetIP(ctx, "ip", a.Host)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, ip := range interleave(ips) {
		out = append(out, Address{Host: ip.String(), PortLo: a.PortLo, PortHi: a.PortHi}.String())
	}
	return out, nil
}

func interleave(ips []netip.Addr) []netip.Addr {
	var first, second []netip.Addr
	for _, ip := range ips {
		ip = ip.Unmap()
		if len(first) == 0 || ip.Is4() == first[0].Is4() {
			first = append(first, ip)
		} else {
			second = append(second, ip)
		}
	}
	out := make([]netip.Addr, 0, len(ips))
	for i := range max(len(first), len(second)) {
		if i < len(first) {
			out = append(out, first[i])
		}
		if i < len(second) {
			out = append(out, second[i])
		}
	}
	return out
}
