package tcp

import (
	"context"
	"errors"
	"fmt"
	"net"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/netaddr"
	"mooncake_te/gocore/transport"
	"mooncake_te/gocore/types"
)

// Dialer makes paths.
type Dialer struct {
	cfg DialerConfig
	err error // of the configuration
}

// NewDialer makes a dialer; what is wrong with its configuration is the error of every Dial.
func NewDialer(cfg DialerConfig) *Dialer {
	d := &Dialer{cfg: cfg}
	d.err = d.cfg.populate()
	return d
}

// Dial connects to the first address that answers, claims the token and makes sure that the target is who it should be.
// It blocks for DialTimeout at most. After an error the token may have been used: it must be retired.
//
// Errors: INVALID_ARGUMENT, PEER_UNREACHABLE (nobody there, or the token was not accepted), STALE_INSTANCE (Error.Peer is
// who answered), VERSION_SKEW.
func (d *Dialer) Dial(ctx context.Context, addrs []string, token types.PathID, target, self types.InstanceID) (transport.Path, error) {
	if d.err != nil {
		return nil, d.err
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.DialTimeout)
	defer cancel()
	nc, err := netaddr.Dial(ctx, "tcp", addrs)
	if err != nil {
		return nil, err
	}
	c, ok := nc.(*net.TCPConn)
	if !ok {
		_ = nc.Close()
		return nil, errcode.New(errcode.Internal, "dial data connection", "not a TCP connection")
	}
	if err := setOptions(c, d.cfg.Keepalive); err != nil {
		_ = c.Close()
		return nil, errcode.New(errcode.Internal, "dial data connection", "cannot set socket options").Wrap(err)
	}
	s, err := newStream(c, 0)
	if err != nil {
		_ = c.Close()
		return nil, errcode.New(errcode.PeerUnreachable, "dial data connection", "lost at once").Wrap(err)
	}
	p := newPath(d, s, token, target)
	stop := context.AfterFunc(ctx, s.kill)
	err = p.hello()
	if !stop() && err == nil {
		err = ctx.Err() // the stream was cut in the same moment
	}
	if err != nil {
		s.kill()
		s.close()
		if e, ok := errors.AsType[*errcode.Error](err); ok {
			return nil, e
		}
		if cause := ctx.Err(); cause != nil {
			err = cause
		}
		return nil, errcode.New(errcode.PeerUnreachable, "dial data connection",
			fmt.Sprintf("%v did not answer as %v; the token may have been retired", c.RemoteAddr(), target.Short())).Wrap(err)
	}
	d.cfg.Counters.Add(CounterDialled, 1)
	d.cfg.Logger.Debug("data connection is up", "remote", c.RemoteAddr().String(), "peer", target.Short(), "self", self.Short())
	p.start()
	return p, nil
}

// hello claims the token and learns who answers.
func (p *Path) hello() error {
	h := Header{Version: Version, Op: OpHello, Target: p.target, Token: p.token}
	p.send.out = h.Append(p.send.out)
	if err := p.send.flush(); err != nil {
		return err
	}
	if err := p.s.fill(HeaderLen); err != nil {
		return err
	}
	var r Reply
	if err := r.Decode(p.s.buffered(), p.limits()); err != nil {
		return err
	}
	p.s.take(HeaderLen)
	switch {
	case r.Status == errcode.VersionSkew:
		return versionSkew(Version, uint8(r.Applied), uint8(r.Applied>>8))
	case r.Op != OpHello:
		return badFrame(errcode.Internal, "a reply to opcode %d, asked was %d", r.Op, OpHello)
	case r.Responder != p.target || r.Status == errcode.StaleInstance:
		e := errcode.New(errcode.StaleInstance, "dial data connection", "another instance answers at this address").
			WithHint("resolve the segment again")
		e.Peer = r.Responder.String()
		return e
	case r.Status != errcode.OK:
		return errcode.New(errcode.FromWire(int32(r.Status)), "dial data connection", "the peer refused")
	}
	return nil
}
