package etcd

import (
	"errors"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"mooncake_te/gocore/store"
)

// refusals are the answers that mean no, whatever is tried again.
var refusals = []struct {
	err error
	why string
}{
	{rpctypes.ErrAuthFailed, "wrong user or password"},
	{rpctypes.ErrUserEmpty, "it wants a user and password"},
	{rpctypes.ErrUserNotFound, "no such user"},
	{rpctypes.ErrPermissionDenied, "the user may not read and write mooncake_te/ and mooncake/"},
	{rpctypes.ErrInvalidAuthToken, "the token is invalid"},
	{rpctypes.ErrAuthOldRevision, "users or roles keep changing"},
	{rpctypes.ErrNoSpace, "its space quota is used up (alarm NOSPACE): compact, defragment, disarm"},
	{rpctypes.ErrRequestTooLarge, "the request is too large (--max-request-bytes)"},
	{rpctypes.ErrTooManyOps, "too many keys in one transaction (--max-txn-ops)"},
	{rpctypes.ErrLeaseTTLTooLarge, "the lease is too long"},
	{rpctypes.ErrCorrupt, "its data is corrupt (alarm CORRUPT)"},
}

// connectionTexts find what is wrong with a connection that never stood. gRPC hands these on as text only.
var connectionTexts = []struct{ text, why string }{
	{"looked like an HTTP/1.1 header", "no etcd is there, but an HTTP server"},
	{"unexpected HTTP status code", "no etcd is there, but an HTTP server"},
	{"first record does not look like a TLS handshake", "it does not speak TLS"},
	{"certificate has expired", "its certificate has expired or is not yet valid"},
	{"x509: ", "its certificate does not prove who it is"},
	{"remote error: tls:", "it does not accept our certificate"},
	{"tls: ", "no TLS connection can be made with it"},
}

// explain types an error. landed says that a write may have landed if nothing proves otherwise.
func (s *Store) explain(op string, landed bool, err error) error {
	if s.closed.Load() {
		return store.Closed(op, s.url)
	}
	err = rpctypes.Error(err)
	for _, r := range refusals {
		if !errors.Is(err, r.err) {
			continue
		}
		refused := error(store.Refused(op, s.url, r.why, err))
		// The write that finds the quota used up is carried out all the same, by each member as it applies it.
		if landed && errors.Is(err, rpctypes.ErrNoSpace) {
			refused = store.Unknown(refused)
		}
		return refused
	}
	code := status.Code(err)
	var answered rpctypes.EtcdError
	if errors.As(err, &answered) {
		code = answered.Code()
	}
	text := err.Error()
	switch code {
	case codes.Unimplemented:
		return store.Refused(op, s.url, "what answers there is no etcd 3.4 or later", err)
	case codes.Unauthenticated, codes.PermissionDenied:
		return store.Refused(op, s.url, "we may not", err)
	case codes.InvalidArgument, codes.ResourceExhausted:
		return store.Refused(op, s.url, "it does not take the request", err)
	case codes.Unavailable, codes.Unknown, codes.Internal:
		for _, c := range connectionTexts {
			if strings.Contains(text, c.text) {
				return store.Refused(op, s.url, c.why, err)
			}
		}
	}
	lost := error(store.Unavailable(op, s.url, err))
	if landed && !errors.Is(err, rpctypes.ErrNoLeader) && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		lost = store.Unknown(lost)
	}
	return lost
}
