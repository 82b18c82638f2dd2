package httplink

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParse(t *testing.T) {
	for _, c := range []struct{ url, base, token, says string }{
		{"http://h:8080/metadata", "http://h:8080/metadata", "", ""},
		{"http://h/metadata/", "http://h/metadata", "", ""},
		{"https://[::1]:8080", "https://[::1]:8080", "", ""},
		{"https://h:1/a/b", "https://h:1/a/b", "", ""},
		{"http://:s3cret@h:1/m", "http://h:1/m", "s3cret", ""},
		{"http://:s%333cret@h:1/m", "http://h:1/m", "s33cret", ""},
		{"", "", "", "scheme"},
		{"h:8080", "", "", ""},
		{"ftp://h/", "", "", "neither http nor https"},
		{"http://", "", "", "host is missing"},
		{"http:///metadata", "", "", "host is missing"},
		{"http://h:/m", "", "", "port"},
		{"http://h:70000/m", "", "", "70000"},
		{"http://h:0/m", "", "", "port"},
		{"http://h:1-2/m", "", "", "port"},
		{"http://h:x/m", "", "", "port"},
		{"http://0.0.0.0:1/m", "", "", "wildcard"},
		{"http://a b/m", "", "", ""},
		{"http://h:1/m?key=x", "", "", "query"},
		{"http://h:1/m#x", "", "", "fragment"},
		{"http://user@h:1/m", "", "", "user name"},
		{"http://user:s3cret@h:1/m", "", "", "user name"},
		{"http://:s3cret%zz@h:1/m", "", "", "cannot be read"},
		{"http://:s3cret@h:70000/m", "", "", "70000"},
	} {
		base, token, err := Parse(c.url)
		if c.base != "" {
			require.NoError(t, err, c.url)
			require.Equal(t, c.base, base)
			require.Equal(t, c.token, token)
			continue
		}
		require.Equal(t, errcode.InvalidArgument, errcode.Of(err), "%q: %v", c.url, err)
		require.ErrorContains(t, err, c.says, c.url)
		require.NotContains(t, err.Error(), "s3cret")
	}
}

// FuzzParse: no text makes it panic, and no error repeats a token.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"http://:tok@h:1/m", "https://h", "http://:t@[::1]:8/x y", "://"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		base, _, err := Parse(text)
		if err != nil {
			require.Equal(t, errcode.InvalidArgument, errcode.Of(err))
			return
		}
		again, token, err := Parse(base)
		require.NoError(t, err)
		require.Equal(t, base, again)
		require.Empty(t, token)
	})
}

func get(l *Link) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, err := l.Do(ctx, Request{Op: "get", Method: http.MethodGet, Limit: 1000})
	return err
}

// issue makes a certificate that is signed by another, or by itself, and its files.
type issued struct {
	cert           *x509.Certificate
	key            *ecdsa.PrivateKey
	certFile, file string
}

func issue(t *testing.T, by *issued, change func(*x509.Certificate)) *issued {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: by == nil, BasicConstraintsValid: true,
	}
	change(template)
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	private, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	folder := t.TempDir()
	i := &issued{cert: cert, key: key, certFile: filepath.Join(folder, "cert.pem"), file: filepath.Join(folder, "key.pem")}
	require.NoError(t, os.WriteFile(i.certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(i.file, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private}), 0o600))
	return i
}

func secure(t *testing.T, with *issued, clients *issued) string {
	pair, err := tls.LoadX509KeyPair(with.certFile, with.file)
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if clients != nil {
		server.TLS.ClientCAs = x509.NewCertPool()
		server.TLS.ClientCAs.AddCert(clients.cert)
		server.TLS.ClientAuth = tls.RequireAndVerifyClientCert
	}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL
}

func TestCertificates(t *testing.T) {
	same := func(*x509.Certificate) {}
	ca, other := issue(t, nil, same), issue(t, nil, same)
	good := issue(t, ca, same)
	expired := issue(t, ca, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	elsewhere := issue(t, ca, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(10, 0, 0, 1)} })
	for _, c := range []struct {
		name    string
		url     string
		options Options
		says    string
	}{
		{"good", secure(t, good, nil), Options{CA: ca.certFile}, ""},
		{"expired", secure(t, expired, nil), Options{CA: ca.certFile}, "expired"},
		{"of another host", secure(t, elsewhere, nil), Options{CA: ca.certFile}, "10.0.0.1"},
		{"of another authority", secure(t, good, nil), Options{CA: other.certFile}, "unknown authority"},
		{"of an authority that the system does not know", secure(t, good, nil), Options{}, "unknown authority"},
		{"client's good", secure(t, good, ca), Options{CA: ca.certFile, Cert: good.certFile, Key: good.file}, ""},
		{"client's missing", secure(t, good, ca), Options{CA: ca.certFile}, "does not accept this side's certificate"},
		{"client's of another", secure(t, good, other), Options{CA: ca.certFile, Cert: good.certFile, Key: good.file}, "does not accept this side's certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.options.URL = c.url
			l, err := New(c.options)
			require.NoError(t, err)
			defer l.Close()
			err = get(l)
			if c.says == "" {
				require.NoError(t, err)
				return
			}
			// With TLS 1.3 a server looks at the client's certificate after the client may write: then its reason or a
			// broken pipe comes first.
			for tries := 0; tries < 50 && strings.HasPrefix(c.name, "client's") && errcode.Of(err) == errcode.MetadataUnavailable; tries++ {
				err = get(l)
			}
			require.Equal(t, errcode.MetadataRefused, errcode.Of(err), "%v", err)
			require.ErrorContains(t, err, c.says)
		})
	}
}

func TestBadFiles(t *testing.T) {
	good := issue(t, nil, func(*x509.Certificate) {})
	noPEM := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(noPEM, []byte("x"), 0o600))
	for _, o := range []Options{
		{URL: "https://h", CA: "/nowhere"}, {URL: "https://h", CA: noPEM}, {URL: "https://h", Cert: good.certFile},
		{URL: "https://h", Cert: good.certFile, Key: noPEM}, {URL: "http://h", CA: good.certFile}, {URL: "http://h", Token: "a b"},
	} {
		_, err := New(o)
		require.Equal(t, errcode.InvalidArgument, errcode.Of(err), "%+v: %v", o, err)
	}
}

// What answers speaks something else: refused, saying what to look at.
func TestOtherProtocols(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	l, err := New(Options{URL: "https" + plain.URL[len("http"):]})
	require.NoError(t, err)
	defer l.Close()
	err = get(l)
	require.Equal(t, errcode.MetadataRefused, errcode.Of(err), "%v", err)
	require.ErrorContains(t, err, "no TLS is spoken there")

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "220 mail.example ESMTP\r\n")
			_, _ = conn.Read(make([]byte, 4096))
			_ = conn.Close()
		}
	}()
	l, err = New(Options{URL: "http://" + listener.Addr().String()})
	require.NoError(t, err)
	defer l.Close()
	err = get(l)
	require.Equal(t, errcode.MetadataRefused, errcode.Of(err), "%v", err)
	require.ErrorContains(t, err, "no HTTP is spoken there")
	require.NoError(t, listener.Close())
	<-done
	err = get(l)
	require.Equal(t, errcode.MetadataUnavailable, errcode.Of(err), "%v", err)
}

// A write whose connection breaks is unknown; the next one asks first whether the server is there, and then says that it
// was not sent.
func TestUnknownThenNotSent(t *testing.T) {
	var writes atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			writes.Add(1)
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	}))
	defer server.Close()
	l, err := New(Options{URL: server.URL})
	require.NoError(t, err)
	defer l.Close()
	write := Request{Op: "write", Method: http.MethodPost, Body: []byte("x"), Limit: 10, Write: true}
	_, err = l.Do(context.Background(), write)
	require.Equal(t, errcode.MetadataUnavailable, errcode.Of(err))
	require.True(t, store.IsUnknown(err), "%v", err)
	_, err = l.Do(context.Background(), write)
	require.Equal(t, errcode.MetadataUnavailable, errcode.Of(err))
	require.False(t, store.IsUnknown(err), "%v", err)
	require.Equal(t, int32(1), writes.Load())
}
