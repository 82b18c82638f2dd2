package store

import (
	"errors"
	"fmt"

	"mooncake_te/gocore/errcode"
)

// OwnedError: somebody else owns the name.
type OwnedError struct{ Record Record }

func (e *OwnedError) Error() string {
	return fmt.Sprintf("segment %q is owned by instance %s (epoch %d)", e.Record.Name, e.Record.Owner.Instance.Short(), e.Record.Owner.Epoch)
}

// Unwrap gives the error its code, SEGMENT_OWNED.
func (e *OwnedError) Unwrap() error {
	return &errcode.Error{
		Code: errcode.SegmentOwned, Op: "acquire", Segment: e.Record.Name, Peer: e.Record.Owner.Instance.String(),
		Hint: "wait until it is released or its lease runs out, or take it over",
	}
}

// unknownError marks a write that may have landed.
type unknownError struct{ err error }

func (e *unknownError) Error() string { return "outcome unknown: " + e.err.Error() }
func (e *unknownError) Unwrap() error { return e.err }

// Unknown marks err as that of a write which may have landed all the same.
func Unknown(err error) error { return &unknownError{err} }

// IsUnknown reports whether err left open whether the write landed.
func IsUnknown(err error) bool {
	var u *unknownError
	return errors.As(err, &u)
}

// Unavailable makes METADATA_UNAVAILABLE: no answer.
func Unavailable(op, url string, err error) *errcode.Error {
	return errcode.New(errcode.MetadataUnavailable, op, "the metadata store "+url+" does not answer").
		WithHint("check that it runs and can be reached from here; live sessions go on without it").Wrap(err)
}

// Refused makes METADATA_REFUSED: the store answered no.
func Refused(op, url, why string, err error) *errcode.Error {
	return errcode.New(errcode.MetadataRefused, op, "the metadata store "+url+" refused: "+why).Wrap(err)
}

// Invalid makes METADATA_INVALID: what lies under a key cannot be read.
func Invalid(op, url, key string, err error) *errcode.Error {
	return errcode.New(errcode.MetadataInvalid, op, fmt.Sprintf("the metadata store %s holds under %q what cannot be read", url, key)).
		WithHint("remove the key if nothing that runs wrote it").Wrap(err)
}

// Closed makes CLOSED: the store was used after Close.
func Closed(op, url string) *errcode.Error {
	return errcode.New(errcode.Closed, op, "the metadata store "+url+" is closed here")
}
