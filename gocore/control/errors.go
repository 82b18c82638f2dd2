package control

import (
	"errors"
	"fmt"

	"mooncake_te/gocore/control/controlpb"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// ErrSelf is what dialling oneself gives: an engine reaches its own memory without a session.
var ErrSelf = errors.New("the address leads to this engine itself")

// StaleInstanceError says that another instance than the expected one answers at an address. It comes wrapped in an
// errcode.Error with STALE_INSTANCE.
type StaleInstanceError struct{ Expected, Present types.InstanceID }

func (e *StaleInstanceError) Error() string {
	return fmt.Sprintf("expected instance %s, found %s", e.Expected, e.Present)
}

func staleInstance(op string, expected, present types.InstanceID) error {
	e := errcode.New(errcode.StaleInstance, op, "the peer was replaced").Wrap(&StaleInstanceError{expected, present}).
		WithHint("refresh the segment's metadata and open its buffers anew")
	e.Peer = present.String()
	return e
}

func versionSkew(op string, ourMin, ourMax, min, max uint32) *errcode.Error {
	return errcode.New(errcode.VersionSkew, op,
		fmt.Sprintf("this side speaks protocol %d to %d, the other %d to %d", ourMin, ourMax, min, max)).
		WithHint("upgrade the older of the two")
}

// errReplaced ends a session in favour of another between the same two instances. Its code marks REFUSED and BYE on the
// wire: the receiver waits for the better session instead of calling the peer lost.
var errReplaced = errcode.New(errcode.Canceled, "session", "another session of the same two engines was chosen")

func isReplaced(err error) bool { return errcode.Of(err) == errcode.Canceled }

// peerSaid makes an error from a code that came over the wire; codes of a newer table are kept as numbers.
func peerSaid(op string, code int32, detail string) *errcode.Error {
	c := errcode.Code(code)
	if c >= 0 {
		c = errcode.Closed
	}
	return errcode.New(c, op, "the peer says: "+detail)
}

func refusal(err error, present types.InstanceID) *controlpb.Refused {
	return &controlpb.Refused{Code: int32(errcode.Of(err)), Detail: clip(err.Error(), maxDetail), Instance: present[:]}
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	// Cut between characters: proto3 refuses strings that are not UTF-8.
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}
