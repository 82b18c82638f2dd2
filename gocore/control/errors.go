package control

import (
	"errors"
	"fmt"
	"strings"

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

// errReplaced is the cause of an end in favour of another session between the same two instances.
var errReplaced = errors.New("another session of the same two engines was chosen")

// codeReplaced marks REFUSED and BYE on the wire that have this cause: the receiver waits for the better session instead
// of calling the peer lost. No other end of a session carries this code.
const codeReplaced = errcode.Canceled

func replacedError() error { return errcode.New(codeReplaced, "session", "replaced").Wrap(errReplaced) }

func isReplaced(err error) bool { return errors.Is(err, errReplaced) }

// peerSaid makes an error from a code that came over the wire; codes of a newer table are kept as numbers.
func peerSaid(op string, code int32, detail string) *errcode.Error {
	c := errcode.FromWire(code)
	if c >= 0 {
		c = errcode.Closed
	}
	e := errcode.New(c, op, "the peer says: "+detail)
	if c == codeReplaced {
		e.Err = errReplaced
	}
	return e
}

func refusal(err error, present types.InstanceID) *controlpb.Refused {
	return &controlpb.Refused{Code: int32(errcode.Of(err)), Detail: clip(err.Error(), maxDetail), Instance: present[:]}
}

// clip makes text fit for a message: short enough, and UTF-8, which proto3 insists on.
func clip(s string, n int) string {
	return strings.ToValidUTF8(s[:min(n, len(s))], "")
}
