package control

import (
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"mooncake_te/gocore/control/controlpb"
	"mooncake_te/gocore/descriptor"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// Caps on what a message may hold. Both sides keep to them: Send refuses what the peer would refuse.
const (
	MaxMessageBytes  = 4 << 20 // one message, encoded
	MaxIDs           = 65536   // buffer IDs or ranges in one event
	MaxTokens        = 4096    // connection tokens in one event
	MaxNotifyBytes   = 1 << 20 // payload of a NOTIFY
	MaxTagLen        = 256     // tag of a NOTIFY
	maxDetail        = 1024
	maxWhat          = 512
	maxCapabilities  = 64
	maxCapabilityLen = 64
	nonceLen         = 32
	proofLen         = 32
)

// checkEvent returns METADATA_INVALID naming what is wrong with an event, nil if nothing is. An event of a kind that
// this build does not know (Kind is nil) passes; the caller skips it.
func checkEvent(ev *controlpb.Event) error {
	switch k := ev.GetKind().(type) {
	case *controlpb.Event_Hello:
		return checkHello(k.Hello)
	case *controlpb.Event_Auth:
		return need(len(k.Auth.GetProof()) == proofLen, "AUTH", "proof of %d bytes", len(k.Auth.GetProof()))
	case *controlpb.Event_Refused:
		return firstOf(
			need(k.Refused.GetCode() < 0, "REFUSED", "code %d", k.Refused.GetCode()),
			textLen("REFUSED", "detail", k.Refused.GetDetail(), maxDetail),
			need(len(k.Refused.GetInstance()) == 16, "REFUSED", "instance of %d bytes", len(k.Refused.GetInstance())))
	case *controlpb.Event_Heartbeat:
		return textLen("HEARTBEAT", "store_id", k.Heartbeat.GetStoreId(), 32)
	case *controlpb.Event_Attach:
		return firstOf(
			need(k.Attach.GetConnections() <= MaxTokens, "ATTACH", "%d connections, more than %d", k.Attach.GetConnections(), MaxTokens),
			textLen("ATTACH", "transport", k.Attach.GetTransport(), maxCapabilityLen))
	case *controlpb.Event_Attached:
		return firstOf(
			tokens("ATTACHED", k.Attached.GetTokens()),
			count("ATTACHED", "IDs", len(k.Attached.GetNonReady()), MaxIDs),
			addresses("ATTACHED", "data_addresses", k.Attached.GetDataAddresses()))
	case *controlpb.Event_GrantQuery:
		return need(k.GrantQuery.GetId() != 0, "GRANT_QUERY", "ID 0")
	case *controlpb.Event_Grant:
		return checkGrant(k.Grant)
	case *controlpb.Event_GrantRefused:
		return firstOf(
			need(k.GrantRefused.GetId() != 0, "GRANT_REFUSED", "ID 0"),
			need(k.GrantRefused.GetCode() < 0, "GRANT_REFUSED", "code %d", k.GrantRefused.GetCode()))
	case *controlpb.Event_Drain:
		return firstOf(
			count("DRAIN", "IDs", len(k.Drain.GetIds()), MaxIDs),
			need(k.Drain.GetWithinNs() >= 0, "DRAIN", "within_ns %d", k.Drain.GetWithinNs()))
	case *controlpb.Event_DrainAck:
		return count("DRAIN_ACK", "IDs", len(k.DrainAck.GetIds()), MaxIDs)
	case *controlpb.Event_Retire:
		return tokens("RETIRE", k.Retire.GetTokens())
	case *controlpb.Event_Invalidate:
		return textLen("INVALIDATE", "what", k.Invalidate.GetWhat(), maxWhat)
	case *controlpb.Event_Notify:
		return firstOf(
			count("NOTIFY", "payload bytes", len(k.Notify.GetPayload()), MaxNotifyBytes),
			textLen("NOTIFY", "tag", k.Notify.GetTag(), MaxTagLen))
	case *controlpb.Event_NotifyAck:
		return need(k.NotifyAck.GetCode() <= 0, "NOTIFY_ACK", "code %d", k.NotifyAck.GetCode())
	case *controlpb.Event_Bye:
		return firstOf(
			need(k.Bye.GetCode() <= 0, "BYE", "code %d", k.Bye.GetCode()),
			textLen("BYE", "detail", k.Bye.GetDetail(), maxDetail))
	}
	return nil // RETIRED, PING, PONG: a nonce, any value
}

func checkHello(h *controlpb.Hello) error {
	id, err := instanceOf(h.GetInstance())
	if err != nil || id.IsZero() {
		return bad("HELLO", "instance must be 16 bytes and not zero, got %d", len(h.GetInstance()))
	}
	return firstOf(
		need(len(h.GetExpectedInstance()) == 0 || len(h.GetExpectedInstance()) == 16, "HELLO",
			"expected_instance of %d bytes", len(h.GetExpectedInstance())),
		need(h.GetProtocolMin() >= 1 && h.GetProtocolMin() <= h.GetProtocolMax(), "HELLO",
			"protocol range %d to %d", h.GetProtocolMin(), h.GetProtocolMax()),
		textLen("HELLO", "name", h.GetName(), descriptor.MaxNameLen),
		addresses("HELLO", "addresses", h.GetAddresses()),
		addresses("HELLO", "data_addresses", h.GetDataAddresses()),
		count("HELLO", "capabilities", len(h.GetCapabilities()), maxCapabilities),
		texts("HELLO", "capabilities", h.GetCapabilities(), maxCapabilityLen),
		need(len(h.GetNonce()) == nonceLen, "HELLO", "nonce of %d bytes", len(h.GetNonce())),
		need(len(h.GetProof()) == 0 || len(h.GetProof()) == proofLen, "HELLO", "proof of %d bytes", len(h.GetProof())))
}

func checkGrant(g *controlpb.GrantInfo) error {
	if err := firstOf(
		need(g.GetId() != 0, "GRANT", "ID 0"),
		need(g.GetPerm()&^uint32(types.PermReadWrite) == 0 && g.GetPerm() != 0, "GRANT", "permission %#x", g.GetPerm()),
		need(len(g.GetRanges()) > 0, "GRANT", "no range"),
		count("GRANT", "ranges", len(g.GetRanges()), MaxIDs),
		textLen("GRANT", "label", g.GetLabel(), descriptor.MaxLabelLen)); err != nil {
		return err
	}
	all := types.Range{Len: g.GetLength()}
	for i, r := range g.GetRanges() {
		if !all.Contains(r.GetOffset(), r.GetLength()) {
			return bad("GRANT", "range %d lies outside %d bytes or is empty", i, g.GetLength())
		}
	}
	return nil
}

// checkSend is checkEvent for what goes out: INVALID_ARGUMENT, and the size of the message too.
func checkSend(ev *controlpb.Event) error {
	if ev.GetKind() == nil {
		return errcode.New(errcode.InvalidArgument, "send", "the event is empty")
	}
	if err := checkEvent(ev); err != nil {
		return errcode.New(errcode.InvalidArgument, "send", "the peer would refuse this").Wrap(err)
	}
	if n := proto.Size(ev); n > MaxMessageBytes {
		return errcode.New(errcode.InvalidArgument, "send", fmt.Sprintf("the event has %d bytes, more than %d", n, MaxMessageBytes))
	}
	return nil
}

func bad(what, format string, args ...any) error {
	return errcode.New(errcode.MetadataInvalid, "check message", what+": "+fmt.Sprintf(format, args...))
}

func need(ok bool, what, format string, args ...any) error {
	if ok {
		return nil
	}
	return bad(what, format, args...)
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func count(what, field string, n, limit int) error {
	return need(n <= limit, what, "%d %s, more than %d", n, field, limit)
}

// textLen checks a string. That it is UTF-8 matters on the way out: the codec would refuse it only after Send returned.
func textLen(what, field, s string, limit int) error {
	return firstOf(
		need(len(s) <= limit, what, "%s of %d bytes, more than %d", field, len(s), limit),
		need(utf8.ValidString(s), what, "%s is not UTF-8", field))
}

func texts(what, field string, list []string, limit int) error {
	for _, s := range list {
		if err := textLen(what, field, s, limit); err != nil {
			return err
		}
	}
	return nil
}

func addresses(what, field string, list []string) error {
	return firstOf(count(what, field, len(list), descriptor.MaxAddresses), texts(what, field, list, descriptor.MaxAddressLen))
}

// tokens refuses zero: it is never a path.
func tokens(what string, list []uint64) error {
	if err := count(what, "tokens", len(list), MaxTokens); err != nil {
		return err
	}
	for _, t := range list {
		if t == 0 {
			return bad(what, "token 0")
		}
	}
	return nil
}

// instanceOf reads an instance ID; empty is zero.
func instanceOf(b []byte) (id types.InstanceID, err error) {
	if len(b) != 0 && len(b) != len(id) {
		return id, bad("instance ID", "%d bytes instead of %d", len(b), len(id))
	}
	copy(id[:], b)
	return id, nil
}
