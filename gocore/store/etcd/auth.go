package etcd

import (
	"context"
	"errors"
	"sync"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// authentication holds the token that etcd gives for user and password. The library's own way asks for one at each
// stream, which costs the server a slow hash per renewal, and cannot open a client while the servers are down.
type authentication struct {
	user, password string

	asking chan struct{} // holds one: who asks; the others wait for the same answer, each as long as its context
	mu     sync.Mutex
	token  string // empty: none yet, or the server wants none
	round  int    // how often it was asked for with success
}

// GetRequestMetadata gives each request the token.
func (a *authentication) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	if t, _ := a.present(); t != "" {
		return map[string]string{rpctypes.TokenFieldNameGRPC: t}, nil
	}
	return nil, nil
}

// RequireTransportSecurity is false: etcd allows passwords without TLS, and so do we.
func (*authentication) RequireTransportSecurity() bool { return false }

func (a *authentication) present() (token string, round int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.token, a.round
}

// ensure asks for a token unless it was asked for since the round given, and returns the present round.
func (a *authentication) ensure(ctx context.Context, client *clientv3.Client, since int) (round int, err error) {
	if a.user == "" {
		return 0, nil
	}
	if _, round = a.present(); round > since {
		return round, nil
	}
	select {
	case a.asking <- struct{}{}:
		defer func() { <-a.asking }()
	case <-ctx.Done():
		return round, ctx.Err()
	}
	if _, round = a.present(); round > since {
		return round, nil
	}
	token := ""
	answer, err := client.Authenticate(ctx, a.user, a.password)
	switch {
	case err == nil:
		token = answer.Token
	case !errors.Is(err, rpctypes.ErrAuthNotEnabled): // then nobody asks for a token
		return round, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.token = token
	a.round++
	return a.round, nil
}

// stale reports whether the server wants another token.
func stale(err error) bool {
	return errors.Is(err, rpctypes.ErrInvalidAuthToken) || errors.Is(err, rpctypes.ErrAuthOldRevision) ||
		errors.Is(err, rpctypes.ErrUserEmpty)
}
