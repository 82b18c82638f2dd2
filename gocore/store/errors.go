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
