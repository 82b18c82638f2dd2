package etcd

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store"
)

const openOp = "open metadata store"

// Options of a store.
type Options struct {
	Endpoints []string // host:port of one or more members
	Keys      store.Keys
	User      string // empty: no authentication
	Password  string
	TLS       bool   // also on when one of the files below is given
	CA        string // PEM files: who signs the servers' certificates (default: the system's), and this side's own pair
	Cert      string
	Key       string
	// DialTimeout bounds one attempt to connect; default 5 s.
	DialTimeout time.Duration
	// Progress is how often a watch asks the server how far it is; default 1 s. One that hears nothing for five times as
	// long ends.
	Progress time.Duration
	Logger   *slog.Logger // nil: none
}

func (o *Options) filled() *Options {
	if o.DialTimeout == 0 {
		o.DialTimeout = 5 * time.Second
	}
	if o.Progress == 0 {
		o.Progress = time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// url is how the store is named in errors and status: without user and password.
func (o *Options) url() string { return "etcd://" + strings.Join(o.Endpoints, ",") }

func (o *Options) tlsConfig() (*tls.Config, error) {
	if !o.TLS && o.CA == "" && o.Cert == "" && o.Key == "" {
		return nil, nil
	}
	bad := func(what string, err error) error {
		return errcode.New(errcode.InvalidArgument, openOp, what).WithHint("it must be a readable PEM file").Wrap(err)
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CA != "" {
		pem, err := os.ReadFile(o.CA)
		if err != nil {
			return nil, bad(fmt.Sprintf("metadata_tls_ca %q", o.CA), err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, bad(fmt.Sprintf("metadata_tls_ca %q", o.CA), errors.New("no certificate in it"))
		}
	}
	if o.Cert != "" || o.Key != "" {
		pair, err := tls.LoadX509KeyPair(o.Cert, o.Key)
		if err != nil {
			return nil, bad(fmt.Sprintf("metadata_tls_cert %q with metadata_tls_key %q", o.Cert, o.Key), err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}
