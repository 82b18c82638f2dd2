package control

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// authority signs certificates for one test.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{dir: t.TempDir()}
	a.key, a.cert = a.sign(t, "ca", &x509.Certificate{
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

func (a *authority) sign(t *testing.T, name string, c *x509.Certificate) (*ecdsa.PrivateKey, *x509.Certificate) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	require.NoError(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	a.write(t, name+".pem", "CERTIFICATE", der)
	a.write(t, name+".key", "EC PRIVATE KEY", keyDER)
	out, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return key, out
}

func (a *authority) write(t *testing.T, file, kind string, der []byte) {
	require.NoError(t, os.WriteFile(filepath.Join(a.dir, file), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// member is the TLS configuration of an engine with a certificate of a, trusting those of trusted.
func (a *authority) member(t *testing.T, name string, trusted *authority) func(*Config) {
	a.sign(t, name, &x509.Certificate{
		DNSNames: []string{name + ".test"}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	})
	return func(c *Config) {
		c.TLS = &TLSConfig{CertFile: a.file(name + ".pem"), KeyFile: a.file(name + ".key"), CAFile: trusted.file("ca.pem")}
	}
}

func TestMutualTLS(t *testing.T) {
	ours, others := newAuthority(t), newAuthority(t)
	b := start(t, ours.member(t, "b", ours))
	b.rec.desc = describeMe(b, 1000)
	named := func(name string) func(*Config) {
		member := ours.member(t, "n", ours)
		return func(c *Config) { member(c); c.TLS.ServerName = name }
	}
	for name, c := range map[string]struct {
		change func(*Config)
		code   errcode.Code
	}{
		"member":                         {ours.member(t, "a", ours), errcode.OK},
		"name given":                     {named("b.test"), errcode.OK},
		"another name given":             {named("x.test"), errcode.MetadataRefused},
		"certificate of another CA":      {others.member(t, "a", ours), errcode.MetadataRefused},
		"trusts another CA":              {ours.member(t, "a2", others), errcode.MetadataRefused},
		"no TLS, so the server hangs up": {func(*Config) {}, errcode.PeerUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			a := start(t, c.change)
			s, err := a.Dial(t.Context(), b.Addresses(), b.id)
			d, describeErr := a.Describe(t.Context(), b.Addresses(), b.id)
			require.Equal(t, c.code, errcode.Of(err), "%v", err)
			require.Equal(t, c.code, errcode.Of(describeErr), "%v", describeErr)
			if c.code != errcode.OK {
				return
			}
			require.Len(t, d.Buffers, 1000)
			require.NoError(t, s.Send(notify(name)))
			b.rec.awaitNotify(t, name)
		})
	}
	plain := start(t)
	a := start(t, ours.member(t, "c", ours))
	_, err := a.Dial(t.Context(), plain.Addresses(), types.InstanceID{})
	require.Error(t, err)
	require.Contains(t, []errcode.Code{errcode.Unsupported, errcode.MetadataRefused}, errcode.Of(err))
}

func TestTLSFiles(t *testing.T) {
	a := newAuthority(t)
	good := a.member(t, "a", a)
	for says, spoil := range map[string]func(*TLSConfig){
		"none.pem":          func(c *TLSConfig) { c.CertFile = a.file("none.pem") },
		"private key":       func(c *TLSConfig) { c.KeyFile = a.file("ca.key") },
		"no certificate in": func(c *TLSConfig) { c.CAFile = a.file("a.key") },
		"none-ca.pem":       func(c *TLSConfig) { c.CAFile = a.file("none-ca.pem") },
	} {
		_, err := tryStart(t, good, func(c *Config) { spoil(c.TLS) })
		requireCode(t, errcode.InvalidArgument, err)
		require.ErrorContains(t, err, says)
	}
}
