package etcd_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/internal/etcdtest"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/store/conformance"
	"mooncake_te/gocore/store/etcd"
	"mooncake_te/gocore/types"
)

const password = "p@ss:w/ord%"

// secure is what a client needs to be let in.
func secure(files *etcdtest.TLS) func(*etcd.Options) {
	return func(o *etcd.Options) {
		o.User, o.Password = "engine", password
		o.CA, o.Cert, o.Key = files.CA, files.ClientCert, files.ClientKey
	}
}

func TestConformanceSecure(t *testing.T) {
	t.Parallel()
	files := etcdtest.NewTLS(t, time.Now().Add(time.Hour))
	files.ClientCA = files.CA
	c := etcdtest.Start(t, etcdtest.Options{TLS: files, Flags: []string{"--bcrypt-cost", "4"}})
	c.Authenticate("engine", password, "mooncake_te/", "mooncake/")
	t.Run("refusals", func(t *testing.T) { testRefusals(t, c, files) })
	conformance.Run(t, suite(c, secure(files), c.Client))
}

// get asks for a name and returns the error, which never repeats a password.
func get(t *testing.T, s store.Store) error {
	defer func() { require.NoError(t, s.Close()) }()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_, err := s.Get(ctx, "x")
	if err != nil {
		require.NotContains(t, err.Error(), password)
		require.NotErrorIs(t, err, context.DeadlineExceeded, "a refusal is told at once")
	}
	return err
}

func testRefusals(t *testing.T, c *etcdtest.Cluster, files *etcdtest.TLS) {
	other := etcdtest.NewTLS(t, time.Now().Add(time.Hour))
	for _, one := range []struct {
		name  string
		spoil func(*etcd.Options)
		says  string
	}{
		{"wrong password", func(o *etcd.Options) { o.Password = "wrong" }, "wrong user or password"},
		{"wrong user", func(o *etcd.Options) { o.User = "nobody" }, "wrong user or password"},
		// The certificate's name is the user then.
		{"no password", func(o *etcd.Options) { o.User, o.Password = "", "" }, "may not read and write"},
		{"another authority", func(o *etcd.Options) { o.CA = other.CA }, "does not prove who it is"},
	} {
		t.Run(one.name, func(t *testing.T) {
			err := get(t, open(t, "c", func(o *etcd.Options) { secure(files)(o); one.spoil(o) }, c.Endpoints()...))
			require.Equal(t, errcode.MetadataRefused, errcode.Of(err), "%v", err)
			require.ErrorContains(t, err, one.says)
		})
	}
	t.Run("no permission", func(t *testing.T) {
		// The user may read and write our prefixes only; another cluster lies below them, so a spoilt prefix has to do.
		c.Authorize("guest", "guest's", "elsewhere/")
		s := open(t, "c", func(o *etcd.Options) { secure(files)(o); o.User, o.Password = "guest", "guest's" }, c.Endpoints()...)
		err := s.Watch(t.Context(), func(e store.Event) { t.Errorf("event %+v", e) })
		require.Equal(t, errcode.MetadataRefused, errcode.Of(err), "%v", err)
		require.ErrorContains(t, err, "may not read and write")
		require.Equal(t, errcode.MetadataRefused, errcode.Of(get(t, s)))
	})
	// In TLS 1.3 a server hangs up after the handshake; whether its reason arrives before the broken pipe is a matter of
	// luck, and one that expects TLS gives none at all.
	for name, spoil := range map[string]func(*etcd.Options){
		"in the clear":                 func(o *etcd.Options) { o.CA, o.Cert, o.Key = "", "", "" },
		"no client certificate":        func(o *etcd.Options) { o.Cert, o.Key = "", "" },
		"another's client certificate": func(o *etcd.Options) { o.Cert, o.Key = other.ClientCert, other.ClientKey },
	} {
		t.Run(name, func(t *testing.T) {
			err := get(t, open(t, "c", func(o *etcd.Options) { secure(files)(o); spoil(o) }, c.Endpoints()...))
			require.Contains(t, []errcode.Code{errcode.MetadataRefused, errcode.MetadataUnavailable}, errcode.Of(err), "%v", err)
		})
	}
}

func TestExpiredCertificate(t *testing.T) {
	t.Parallel()
	files := etcdtest.NewTLS(t, time.Now().Add(-time.Hour))
	c := etcdtest.Start(t, etcdtest.Options{TLS: files})
	err := get(t, open(t, "c", func(o *etcd.Options) { o.CA = files.CA }, c.Endpoints()...))
	require.Equal(t, errcode.MetadataRefused, errcode.Of(err), "%v", err)
	require.ErrorContains(t, err, "expired")
}

// TestNoEtcdThere: what is no etcd is named as that, or at least as something that does not answer.
func TestNoEtcdThere(t *testing.T) {
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	web2 := httptest.NewUnstartedServer(http.NotFoundHandler())
	web2.Config.Protocols = &protocols
	web2.Start()
	defer web2.Close()
	for name, c := range map[string]struct {
		address string
		tls     bool
		code    errcode.Code
		says    string
	}{
		"HTTP/1.1 server":          {web.Listener.Addr().String(), false, errcode.MetadataRefused, "an HTTP server"},
		"HTTP/2 server":            {web2.Listener.Addr().String(), false, errcode.MetadataRefused, "no etcd"},
		"TLS to one without":       {web.Listener.Addr().String(), true, errcode.MetadataRefused, "does not speak TLS"},
		"nobody listens":           {closedPort(t), false, errcode.MetadataUnavailable, "refused"},
		"hangs up on everybody":    {hangsUp(t), false, errcode.MetadataUnavailable, ""},
		"a name that is no host's": {"no-such-host.invalid:2379", false, errcode.MetadataUnavailable, "no-such-host.invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			err := get(t, open(t, "c", func(o *etcd.Options) { o.TLS = c.tls }, c.address))
			require.Equal(t, c.code, errcode.Of(err), "%v", err)
			require.ErrorContains(t, err, c.says)
		})
	}
}

func closedPort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	return l.Addr().String()
}

func hangsUp(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { require.NoError(t, l.Close()); <-done })
	return l.Addr().String()
}

// TestQuota: a full server refuses writes, says so, and is well again when there is room.
func TestQuota(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{Flags: []string{"--quota-backend-bytes", "1000000"}})
	s := open(t, "c", nil, c.Endpoints()...)
	defer func() { require.NoError(t, s.Close()) }()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	o, err := s.Acquire(ctx, store.AcquireRequest{Name: "x", Instance: types.NewInstanceID(), TTL: time.Minute})
	require.NoError(t, err)
	var last uint64
	for range 1000 {
		var result store.PublishResult
		if result, err = s.Publish(ctx, o, store.PublishRequest{Head: []byte(strings.Repeat("h", store.MaxHead)), Last: last}); err != nil {
			break
		}
		require.Nil(t, result.Lost)
		last = result.Revision
	}
	require.Equal(t, errcode.MetadataRefused, errcode.Of(err), "%v", err)
	require.ErrorContains(t, err, "NOSPACE")
	// The first write above the quota is refused and carried out.
	require.True(t, store.IsUnknown(err), "%v", err)
	r, err := s.Renew(ctx, o)
	require.NoError(t, err, "a full server still renews leases and reads")
	require.True(t, o.Holds(&r))
	require.GreaterOrEqual(t, r.HeadRevision, last)
	// Those after it are refused before that.
	_, err = s.Publish(ctx, o, store.PublishRequest{Head: []byte("h"), Last: r.HeadRevision})
	require.Equal(t, errcode.MetadataRefused, errcode.Of(err), "%v", err)
	now, err := s.Get(ctx, "x")
	require.NoError(t, err)
	require.Equal(t, r.HeadRevision, now.HeadRevision)
}

// TestAddressesAreTried: of several endpoints one that works is enough.
func TestAddressesAreTried(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{})
	require.NoError(t, get(t, open(t, "c", nil, append([]string{closedPort(t), hangsUp(t)}, c.Endpoints()...)...)))
}

// TestContextWithoutTime: a context that has ended already costs no request.
func TestContextWithoutTime(t *testing.T) {
	s := open(t, "c", nil, closedPort(t))
	defer func() { require.NoError(t, s.Close()) }()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := s.Acquire(ctx, store.AcquireRequest{Name: "x", Instance: types.NewInstanceID(), TTL: time.Minute})
	require.Equal(t, errcode.MetadataUnavailable, errcode.Of(err), "%v", err)
	require.False(t, store.IsUnknown(err))
	require.True(t, errors.Is(s.Watch(ctx, nil), context.Canceled) || ctx.Err() != nil)
}
