package control

import (
	"context"
	"encoding/binary"
	"io"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"mooncake_te/gocore/control/controlpb"
	"mooncake_te/gocore/types"
)

// script is a caller's stream of which every message was written beforehand.
type script struct {
	mu   sync.Mutex
	left []byte
	sent []*controlpb.Event
}

func (s *script) Context() context.Context { return context.Background() }

// Recv takes the next message: two bytes of length, then that many.
func (s *script) Recv() (*controlpb.Event, error) {
	if len(s.left) < 2 {
		return nil, io.EOF
	}
	n := min(int(binary.LittleEndian.Uint16(s.left)), len(s.left)-2)
	b := s.left[2 : 2+n]
	s.left = s.left[2+n:]
	ev := &controlpb.Event{}
	return ev, decode(b, ev)
}

func (s *script) Send(ev *controlpb.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, ev)
	return nil
}

func conversation(t testing.TB, events ...*controlpb.Event) []byte {
	var out []byte
	for _, ev := range events {
		b, err := proto.Marshal(ev)
		require.NoError(t, err)
		out = binary.LittleEndian.AppendUint16(out, uint16(len(b)))
		out = append(out, b...)
	}
	return out
}

// FuzzHandshake plays a whole caller: HELLO, AUTH and what comes after. A node takes it or says why not, the session it
// chose ends with the stream, and what it answers is valid itself.
func FuzzHandshake(f *testing.F) {
	s := samples()
	s["hello"].GetHello().ExpectedInstance = nil
	s["hello"].GetHello().Addresses = []string{"127.0.0.1:1"}
	f.Add(conversation(f, s["hello"]), false)
	f.Add(conversation(f, s["hello"], s["ping"], s["notify"], s["heartbeat"], s["attach"], s["bye"]), false)
	f.Add(conversation(f, s["hello"], s["hello"]), false)
	f.Add(conversation(f, s["hello"], s["retire"], s["drain"], s["drain_ack"], s["grant_query"], s["refused"]), false)
	f.Add(conversation(f, s["hello"], s["auth"], s["ping"]), true)
	f.Add(conversation(f, s["auth"]), true)
	key := []byte("a key of sixteen")
	nodes := map[bool]*testNode{false: start(f), true: start(f, func(c *Config) { c.PSK = key })}
	f.Fuzz(func(t *testing.T, b []byte, keyed bool) {
		n := nodes[keyed]
		w := &script{left: b}
		released := make(chan struct{})
		var peer types.InstanceID
		if session := n.accept(w, func() { close(released) }); session != nil {
			peer = session.Peer()
			require.False(t, keyed, "nobody can guess the key")
			session.read() // to the end of the script
			<-released
			require.Nil(t, n.Session(peer), "the session ended with its stream")
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, ev := range w.sent {
			require.NoError(t, checkEvent(ev))
		}
	})
}
