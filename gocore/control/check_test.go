package control

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"mooncake_te/gocore/control/controlpb"
	"mooncake_te/gocore/errcode"
)

// samples has one valid event of each kind.
func samples() map[string]*controlpb.Event {
	id := make([]byte, 16)
	for i := range id {
		id[i] = byte(i + 1)
	}
	nonce := make([]byte, nonceLen)
	return map[string]*controlpb.Event{
		"hello": event(&controlpb.Hello{
			Instance: id, ExpectedInstance: id, ProtocolMin: 1, ProtocolMax: 2, SessionNumber: 3, Name: "n",
			Addresses: []string{"[::1]:1"}, DataAddresses: []string{"127.0.0.1:2"}, Version: 4, Floor: 5,
			Capabilities: []string{"c"}, Nonce: nonce, Proof: nonce, EndedNumber: 6, HeartbeatMs: 7,
		}),
		"auth":          event(&controlpb.Auth{Proof: nonce}),
		"refused":       event(&controlpb.Refused{Code: -9, Detail: "d", Instance: id}),
		"heartbeat":     event(&controlpb.Heartbeat{Version: 1, Floor: 2, OwnerEpoch: 3, StoreId: strings.Repeat("a", 32)}),
		"attach":        {Kind: &controlpb.Event_Attach{Attach: &controlpb.Attach{Request: 1, Connections: 2, Transport: "tcp"}}},
		"attached":      {Kind: &controlpb.Event_Attached{Attached: &controlpb.Attached{Request: 1, Tokens: []uint64{2}, Floor: 3, Version: 4, NonReady: []uint64{5}, DataAddresses: []string{"h:1"}}}},
		"grant_query":   {Kind: &controlpb.Event_GrantQuery{GrantQuery: &controlpb.GrantQuery{Id: 1}}},
		"grant":         {Kind: &controlpb.Event_Grant{Grant: &controlpb.GrantInfo{Id: 1, Ranges: []*controlpb.Range{{Offset: 1, Length: 2}}, Perm: 3, Version: 4, Length: 5, Label: "l"}}},
		"grant_refused": {Kind: &controlpb.Event_GrantRefused{GrantRefused: &controlpb.GrantRefused{Id: 1, Code: -12}}},
		"drain":         {Kind: &controlpb.Event_Drain{Drain: &controlpb.Drain{Ids: []uint64{1, 2}, Version: 3, WithinNs: 4, Nonce: 5}}},
		"drain_ack":     {Kind: &controlpb.Event_DrainAck{DrainAck: &controlpb.DrainAck{Ids: []uint64{1, 2}, Nonce: 3}}},
		"retire":        {Kind: &controlpb.Event_Retire{Retire: &controlpb.Retire{Nonce: 1, Tokens: []uint64{2}}}},
		"retired":       {Kind: &controlpb.Event_Retired{Retired: &controlpb.Retired{Nonce: 1}}},
		"invalidate":    {Kind: &controlpb.Event_Invalidate{Invalidate: &controlpb.Invalidate{Version: 1, What: "w"}}},
		"notify":        {Kind: &controlpb.Event_Notify{Notify: &controlpb.Notify{Nonce: 1, Payload: []byte{2}, Tag: "t"}}},
		"notify_ack":    {Kind: &controlpb.Event_NotifyAck{NotifyAck: &controlpb.NotifyAck{Nonce: 1, Code: -4}}},
		"ping":          event(&controlpb.Ping{Nonce: 1}),
		"pong":          event(&controlpb.Pong{Nonce: 1}),
		"bye":           event(&controlpb.Bye{Code: -5, Detail: "d"}),
	}
}

func TestEverySampleIsValid(t *testing.T) {
	kinds := (&controlpb.Event{}).ProtoReflect().Descriptor().Oneofs().Get(0).Fields().Len()
	require.Len(t, samples(), kinds, "one sample for each kind of event")
	for name, ev := range samples() {
		require.NoError(t, checkEvent(ev), name)
		require.NoError(t, checkSend(ev), name)
	}
	require.NoError(t, checkEvent(&controlpb.Event{}), "a kind that is not known passes")
}

func TestCheckRefuses(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	type k = *controlpb.Event
	for says, spoil := range map[string]func(map[string]k) k{
		"AUTH: proof":             func(s map[string]k) k { s["auth"].GetAuth().Proof = nil; return s["auth"] },
		"REFUSED: code 0":         func(s map[string]k) k { s["refused"].GetRefused().Code = 0; return s["refused"] },
		"REFUSED: detail":         func(s map[string]k) k { s["refused"].GetRefused().Detail = long(1025); return s["refused"] },
		"REFUSED: instance":       func(s map[string]k) k { s["refused"].GetRefused().Instance = nil; return s["refused"] },
		"HELLO: addresses of 321": func(s map[string]k) k { s["hello"].GetHello().Addresses[0] = long(321); return s["hello"] },
		"HELLO: 65 capabilities":  func(s map[string]k) k { s["hello"].GetHello().Capabilities = make([]string, 65); return s["hello"] },
		"HELLO: proof":            func(s map[string]k) k { s["hello"].GetHello().Proof = []byte{1}; return s["hello"] },
		"HEARTBEAT: store_id":     func(s map[string]k) k { s["heartbeat"].GetHeartbeat().StoreId = long(33); return s["heartbeat"] },
		"ATTACH: transport":       func(s map[string]k) k { s["attach"].GetAttach().Transport = long(65); return s["attach"] },
		"ATTACHED: 4097 tokens": func(s map[string]k) k {
			s["attached"].GetAttached().Tokens = make([]uint64, 4097)
			return s["attached"]
		},
		"ATTACHED: 65537 IDs": func(s map[string]k) k {
			s["attached"].GetAttached().NonReady = make([]uint64, 65537)
			return s["attached"]
		},
		"GRANT_QUERY: ID 0": func(s map[string]k) k { s["grant_query"].GetGrantQuery().Id = 0; return s["grant_query"] },
		"GRANT: no range":   func(s map[string]k) k { s["grant"].GetGrant().Ranges = nil; return s["grant"] },
		"GRANT: 65537 ranges": func(s map[string]k) k {
			s["grant"].GetGrant().Ranges = make([]*controlpb.Range, 65537)
			return s["grant"]
		},
		"GRANT: range 0 lies":   func(s map[string]k) k { s["grant"].GetGrant().Ranges[0].Length = 5; return s["grant"] },
		"GRANT: label":          func(s map[string]k) k { s["grant"].GetGrant().Label = long(257); return s["grant"] },
		"GRANT_REFUSED: code 0": func(s map[string]k) k { s["grant_refused"].GetGrantRefused().Code = 0; return s["grant_refused"] },
		"DRAIN_ACK: 65537 IDs": func(s map[string]k) k {
			s["drain_ack"].GetDrainAck().Ids = make([]uint64, 65537)
			return s["drain_ack"]
		},
		"RETIRE: 4097 tokens":      func(s map[string]k) k { s["retire"].GetRetire().Tokens = make([]uint64, 4097); return s["retire"] },
		"INVALIDATE: what":         func(s map[string]k) k { s["invalidate"].GetInvalidate().What = long(513); return s["invalidate"] },
		"NOTIFY: 1048577 payload":  func(s map[string]k) k { s["notify"].GetNotify().Payload = make([]byte, 1<<20+1); return s["notify"] },
		"NOTIFY: tag of":           func(s map[string]k) k { s["notify"].GetNotify().Tag = long(257); return s["notify"] },
		"NOTIFY: tag is not UTF-8": func(s map[string]k) k { s["notify"].GetNotify().Tag = "\xff"; return s["notify"] },
		"NOTIFY_ACK: code 1":       func(s map[string]k) k { s["notify_ack"].GetNotifyAck().Code = 1; return s["notify_ack"] },
		"BYE: code 1":              func(s map[string]k) k { s["bye"].GetBye().Code = 1; return s["bye"] },
	} {
		ev := spoil(samples())
		require.ErrorContains(t, checkEvent(ev), says)
		require.Equal(t, errcode.MetadataInvalid, errcode.Of(checkEvent(ev)))
		require.Equal(t, errcode.InvalidArgument, errcode.Of(checkSend(ev)))
	}
}

// The bytes of protocol version 1. A change here breaks every peer that is out there.
func TestGoldenVectors(t *testing.T) {
	golden := map[string]string{
		"attach":        "1a1009010000000000000010021a03746370",
		"attached":      "222d090100000000000000120802000000000000001903000000000000002104000000000000002a01053203683a31",
		"auth":          "9201220a200000000000000000000000000000000000000000000000000000000000000000",
		"bye":           "8a010e08fbffffffffffffffff01120164",
		"drain":         "42180a0201021103000000000000001804210500000000000000",
		"drain_ack":     "4a0d0a020102110300000000000000",
		"grant":         "321808011204080110021803210400000000000000280532016c",
		"grant_query":   "2a020801",
		"grant_refused": "3a0d080110f4ffffffffffffffff01",
		"heartbeat":     "1236090100000000000000110200000000000000180322206161616161616161616161616161616161616161616161616161616161616161",
		"hello":         "0aa0010a100102030405060708090a0b0c0d0e0f1012100102030405060708090a0b0c0d0e0f1018012002280332016e3a075b3a3a315d3a31420b3132372e302e302e313a324904000000000000005105000000000000005a0163622000000000000000000000000000000000000000000000000000000000000000006a20000000000000000000000000000000000000000000000000000000000000000070067807",
		"invalidate":    "620c090100000000000000120177",
		"notify":        "6a0f0901000000000000001201021a0174",
		"notify_ack":    "721409010000000000000010fcffffffffffffffff01",
		"ping":          "7a09090100000000000000",
		"pong":          "820109090100000000000000",
		"refused":       "9a012008f7ffffffffffffffff011201641a100102030405060708090a0b0c0d0e0f10",
		"retire":        "521309010000000000000012080200000000000000",
		"retired":       "5a09090100000000000000",
	}
	require.Len(t, golden, len(samples()))
	for name, want := range golden {
		got, err := proto.MarshalOptions{Deterministic: true}.Marshal(samples()[name])
		require.NoError(t, err)
		require.Equal(t, want, hex.EncodeToString(got), name)
		var back controlpb.Event
		require.NoError(t, decode(got, &back))
		require.True(t, proto.Equal(samples()[name], &back))
	}
}

func TestDecodeCountsBeforeItAllocates(t *testing.T) {
	grant := func(ranges int) []byte {
		inner := protowire.AppendTag(nil, 1, protowire.VarintType)
		inner = protowire.AppendVarint(inner, 1)
		for range ranges {
			inner = append(inner, 0x12, 0) // an empty Range
		}
		return protowire.AppendBytes(protowire.AppendTag(nil, 6, protowire.BytesType), inner)
	}
	var ev controlpb.Event
	require.NoError(t, decode(grant(MaxIDs), &ev))
	require.Len(t, ev.GetGrant().GetRanges(), MaxIDs)
	million := grant(1 << 20)
	require.ErrorIs(t, decode(million, &ev), errTooManyRecords)
	require.LessOrEqual(t, testing.AllocsPerRun(10, func() { _ = decode(million, &ev) }), 1.0)
}

// Whatever arrives: no panic, bounded, and what passes the check can be sent again.
func FuzzEvent(f *testing.F) {
	for _, ev := range samples() {
		b, err := proto.Marshal(ev)
		require.NoError(f, err)
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var ev controlpb.Event
		if decode(b, &ev) != nil {
			return
		}
		if err := checkEvent(&ev); err != nil {
			require.Equal(t, errcode.MetadataInvalid, errcode.Of(err))
			return
		}
		if ev.GetKind() != nil && proto.Size(&ev) <= MaxMessageBytes {
			require.NoError(t, checkSend(&ev))
		}
	})
}

func FuzzDescribeChunk(f *testing.F) {
	id := make([]byte, 16)
	for _, c := range []*controlpb.DescribeChunk{
		{Head: &controlpb.DescriptorHead{Name: "n", Instance: id, Version: 1, BufferCount: 1}, Buffers: []*controlpb.BufferInfo{{Id: 1, Length: 2, State: 1, Perm: 3}}},
		{Head: &controlpb.DescriptorHead{BufferCount: 1 << 62}},
		{Last: true, Digest: make([]byte, 32)},
	} {
		b, err := proto.Marshal(c)
		require.NoError(f, err)
		f.Add(b, b)
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		var a assembly
		for _, b := range [][]byte{first, second} {
			var c controlpb.DescribeChunk
			if decode(b, &c) != nil || a.add(&c) != nil {
				return
			}
		}
		if d, err := a.descriptor(); err == nil {
			require.NoError(t, d.Validate())
			require.Len(t, d.Buffers, int(a.count))
		}
	})
}
