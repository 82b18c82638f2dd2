// Package open turns the URL of a metadata store into a store. It is the only place that knows all of them.
//
//	etcd://[user[:password]@]host[:port][,host[:port]...][?tls=1]   port 2379
//	http://[:token@]host[:port]/path, https://...                  our metadata server, or a stock one
//	mem://NAME                                                     inside this process
//
// User and password are percent-encoded. They are never repeated in an error, a log or a status.
package open

import (
	"log/slog"
	"time"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/store/etcd"
	"mooncake_te/gocore/store/httplink"
	"mooncake_te/gocore/store/httpstore"
	"mooncake_te/gocore/store/mem"
)

const op = "open metadata store"

// Options are what a URL does not say. The zero value is usable.
type Options struct {
	ClusterID string // MC_METADATA_CLUSTER_ID
	Token     string // the password of etcd's user, or the bearer token of an HTTP server, if the URL does not hold it
	// PEM files: who signs the server's certificate, and this side's own pair. With etcd they turn TLS on.
	TLSCA, TLSCert, TLSKey string
	Timeout                time.Duration // of one attempt to connect; default 5 s
	Poll                   time.Duration // how often a store without push is listed; default 1 s
	Logger                 *slog.Logger  // nil: none
}

// Store opens the store of a URL. It reads files but does not connect: a store that is down is found out at its use.
// Errors are INVALID_ARGUMENT.
func Store(url string, o Options) (store.Store, error) {
	at, err := Parse(url)
	if err != nil {
		return nil, err
	}
	keys, err := store.NewKeys(o.ClusterID)
	if err != nil {
		return nil, err
	}
	switch at.Kind {
	case "mem":
		if o.Token != "" || o.TLSCA != "" || o.TLSCert != "" || o.TLSKey != "" {
			return nil, errcode.New(errcode.InvalidArgument, op, "mem:// takes no password, token or TLS file")
		}
		return mem.Open(at.Name, keys), nil
	case "etcd":
		return openEtcd(at, keys, o)
	}
	s, err := httpstore.New(httpstore.Options{
		Options: httplink.Options{URL: url, Token: o.Token, CA: o.TLSCA, Cert: o.TLSCert, Key: o.TLSKey},
		Keys:    keys, Poll: o.Poll,
	})
	if err != nil {
		return nil, err // not a nil *httpstore.Store in an interface
	}
	return s, nil
}

func openEtcd(at Location, keys store.Keys, o Options) (store.Store, error) {
	bad := func(detail, hint string) error {
		return errcode.New(errcode.InvalidArgument, op, detail).WithHint(hint)
	}
	password := at.Password
	switch {
	case o.Token != "" && password != "" && o.Token != password:
		return nil, bad("the password stands in the URL and, another one, in metadata_token", "leave one of them out")
	case o.Token != "" && at.User == "":
		return nil, bad("metadata_token is a password, but the URL names no user", "write etcd://user@host:port")
	case o.Token != "":
		password = o.Token
	}
	switch {
	case at.User != "" && password == "":
		return nil, bad("the user has no password", "give it as metadata_token, or write etcd://user:password@host:port")
	case (o.TLSCert == "") != (o.TLSKey == ""):
		return nil, bad("metadata_tls_cert and metadata_tls_key belong together", "give both, or neither")
	case at.TLS != nil && !*at.TLS && (o.TLSCA != "" || o.TLSCert != ""):
		return nil, bad("the URL says tls=0, but TLS files are given", "leave one of them out")
	}
	s, err := etcd.Open(etcd.Options{
		Endpoints: at.Hosts, Keys: keys, User: at.User, Password: password, TLS: at.TLS != nil && *at.TLS,
		CA: o.TLSCA, Cert: o.TLSCert, Key: o.TLSKey, DialTimeout: o.Timeout, Logger: o.Logger,
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}
