package control

import (
	"math"
	"slices"

	"mooncake_te/gocore/control/controlpb"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// capabilityPSK says that a key is configured, so that a caller without one is told so before anything else. It proves
// nothing; the proofs do.
const capabilityPSK = "psk"

// hello is this side's first message to a peer (zero: not known yet).
func (n *Node) hello(peer types.InstanceID) *controlpb.Hello {
	g := n.cfg.Greeting(peer)
	var capabilities []string
	if len(n.cfg.PSK) > 0 {
		capabilities = append(capabilities, capabilityPSK)
	}
	return &controlpb.Hello{
		Instance:      n.cfg.Instance[:],
		ProtocolMin:   n.cfg.protocolMin,
		ProtocolMax:   n.cfg.protocolMax,
		Name:          n.cfg.Name,
		Addresses:     n.addresses,
		DataAddresses: n.cfg.DataAddresses(),
		Version:       uint64(g.Version),
		Floor:         uint64(g.Floor),
		Capabilities:  capabilities,
		Nonce:         newNonce(),
		HeartbeatMs:   uint32(min(max(n.cfg.Heartbeat.Milliseconds(), 1), math.MaxUint32)),
	}
}

// admit checks what either side must check of the other's HELLO: its form, then the protocol range.
func (n *Node) admit(op string, h *controlpb.Hello) (types.InstanceID, error) {
	if err := checkHello(h); err != nil {
		return types.InstanceID{}, err
	}
	id, _ := instanceOf(h.GetInstance())
	if h.GetProtocolMax() < n.cfg.protocolMin || h.GetProtocolMin() > n.cfg.protocolMax {
		err := versionSkew(op, n.cfg.protocolMin, n.cfg.protocolMax, h.GetProtocolMin(), h.GetProtocolMax())
		err.Peer = id.String()
		return id, err
	}
	return id, nil
}

// admitCaller checks a dialler's HELLO.
func (n *Node) admitCaller(h *controlpb.Hello) (types.InstanceID, error) {
	id, err := n.admit("accept session", h)
	if err != nil {
		return id, err
	}
	expected, _ := instanceOf(h.GetExpectedInstance())
	if !expected.IsZero() && expected != n.cfg.Instance {
		return id, staleInstance("accept session", expected, n.cfg.Instance)
	}
	if id == n.cfg.Instance {
		return id, errcode.New(errcode.InvalidArgument, "accept session", ErrSelf.Error())
	}
	if h.GetSessionNumber() == 0 {
		return id, bad("HELLO", "session_number 0")
	}
	return id, checkKeys("accept session", len(n.cfg.PSK) > 0, slices.Contains(h.GetCapabilities(), capabilityPSK))
}

func event(k any) *controlpb.Event {
	switch k := k.(type) {
	case *controlpb.Hello:
		return &controlpb.Event{Kind: &controlpb.Event_Hello{Hello: k}}
	case *controlpb.Auth:
		return &controlpb.Event{Kind: &controlpb.Event_Auth{Auth: k}}
	case *controlpb.Refused:
		return &controlpb.Event{Kind: &controlpb.Event_Refused{Refused: k}}
	case *controlpb.Heartbeat:
		return &controlpb.Event{Kind: &controlpb.Event_Heartbeat{Heartbeat: k}}
	case *controlpb.Ping:
		return &controlpb.Event{Kind: &controlpb.Event_Ping{Ping: k}}
	case *controlpb.Pong:
		return &controlpb.Event{Kind: &controlpb.Event_Pong{Pong: k}}
	case *controlpb.Bye:
		return &controlpb.Event{Kind: &controlpb.Event_Bye{Bye: k}}
	}
	return nil
}
