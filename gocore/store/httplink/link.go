// Package httplink carries requests of the HTTP stores: one client per store, with its TLS, token and bounds, and the
// typed errors of what can go wrong between here and an answer. What an answer means is for its caller to say.
//
// A Link may be used from any goroutine. It owns its idle connections until Close. It never goes through a proxy: a
// metadata server is part of the cluster, and what a shell's environment says is for the outside.
package httplink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/forkfd"
	"mooncake_te/gocore/netaddr"
)

// Options of a link.
type Options struct {
	URL   string // http(s)://[:TOKEN@]host[:port]/path
	Token string // sent as a bearer token; default: that of the URL
	CA    string // PEM files: who signs the server's certificate (default: the system's), and this side's own pair
	Cert  string
	Key   string
	// Dial, if set, makes the connections, for tests.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Link is a way to one server.
type Link struct {
	base      string // without a token and without a slash at the end
	token     string
	client    *http.Client
	transport *http.Transport
	shaky     atomic.Bool // the last answer that was waited for did not come
}

const openOp = "open metadata store"

// Waits for what a context without a deadline would not end.
const (
	dialTimeout      = 5 * time.Second
	handshakeTimeout = 5 * time.Second
)

// New checks the options and reads the files; it does not connect.
func New(o Options) (*Link, error) {
	base, token, err := Parse(o.URL)
	if err != nil {
		return nil, err
	}
	secure, err := clientTLS(o, base)
	if err != nil {
		return nil, err
	}
	if o.Token != "" {
		token = o.Token
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errcode.New(errcode.InvalidArgument, openOp, "the token of "+base+" holds characters that a token cannot have").
			WithHint("printable ASCII characters without spaces")
	}
	dial := o.Dial
	if dial == nil {
		d := net.Dialer{Timeout: dialTimeout}
		dial = d.DialContext
	}
	// HTTP/1.1, also over TLS: one request at a time on a connection says most clearly what became of it.
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return forkfd.Conn(conn), nil
		},
		TLSClientConfig:        secure,
		TLSHandshakeTimeout:    handshakeTimeout,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    4,
		IdleConnTimeout:        time.Minute,
		MaxResponseHeaderBytes: 64 << 10,
	}
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &Link{base: base, token: token, client: client, transport: transport}, nil
}

// URL is the server's, without a token.
func (l *Link) URL() string { return l.base }

// Close ends idle connections.
func (l *Link) Close() { l.transport.CloseIdleConnections() }

// Parse reads a URL of a metadata server and takes the token out of it. Errors do not repeat the token.
func Parse(text string) (base, token string, err error) {
	bad := func(why string) error {
		return errcode.New(errcode.InvalidArgument, openOp, fmt.Sprintf("metadata URL %.200q: %s", withoutSecret(text), why)).
			WithHint("write http://host:port/metadata; a token goes before the host: http://:TOKEN@host:port/metadata")
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err // the outer one repeats the whole text
		}
		return "", "", bad("it cannot be read: " + strings.ReplaceAll(err.Error(), secret(text), "..."))
	case u.Scheme != "http" && u.Scheme != "https":
		return "", "", bad(fmt.Sprintf("the scheme %q is neither http nor https", u.Scheme))
	case u.Opaque != "" || u.Host == "":
		return "", "", bad("the host is missing")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "", "", bad("a query or fragment has no meaning here")
	case u.User.Username() != "":
		return "", "", bad("a user name has no meaning here")
	}
	address, err := netaddr.Parse(u.Host)
	if err == nil && strings.Contains(u.Port(), "-") || err == nil && u.Port() == "" && strings.HasSuffix(u.Host, ":") {
		err = errors.New("the port is missing")
	}
	if err == nil && u.Port() != "" {
		err = address.CheckDial()
	}
	if err != nil {
		var typed *errcode.Error
		if errors.As(err, &typed) {
			return "", "", bad(typed.Detail)
		}
		return "", "", bad(err.Error())
	}
	token, _ = u.User.Password()
	u.User = nil
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawPath = ""
	return u.String(), token, nil
}

var userinfo = regexp.MustCompile(`//([^/?#]*)@`)

// withoutSecret hides what may be a token in a URL that possibly cannot be parsed.
func withoutSecret(text string) string { return userinfo.ReplaceAllString(text, "//...@") }

func secret(text string) string {
	if m := userinfo.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return text
}

func clientTLS(o Options, base string) (*tls.Config, error) {
	if o.CA == "" && o.Cert == "" && o.Key == "" {
		return &tls.Config{MinVersion: tls.VersionTLS12}, nil
	}
	fail := func(what string, err error) error {
		return errcode.New(errcode.InvalidArgument, openOp, what).Wrap(err)
	}
	if strings.HasPrefix(base, "http:") {
		return nil, fail("TLS files are given, but "+base+" is not https", nil)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if (o.Cert == "") != (o.Key == "") {
		return nil, fail("metadata_tls_cert and metadata_tls_key belong together", nil)
	}
	if o.Cert != "" {
		pair, err := tls.LoadX509KeyPair(o.Cert, o.Key)
		if err != nil {
			return nil, fail(fmt.Sprintf("certificate %q with key %q", o.Cert, o.Key), err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	if o.CA != "" {
		pem, err := os.ReadFile(o.CA)
		if err != nil {
			return nil, fail(fmt.Sprintf("CA file %q", o.CA), err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fail(fmt.Sprintf("CA file %q", o.CA), errors.New("no certificate in it"))
		}
	}
	return config, nil
}
