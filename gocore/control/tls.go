package control

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"mooncake_te/gocore/errcode"
)

// TLSConfig turns on mutual TLS 1.3. All three files are PEM. The CA should be the fleet's own: whoever it signed is a
// member.
type TLSConfig struct {
	CertFile string // this engine's certificate chain, for client and server use
	KeyFile  string
	CAFile   string // signs all peers' certificates
	// ServerName, if set, must be a DNS name in every acceptor's certificate. Empty: the chain is verified, the name is
	// not, because engines are reached under addresses that no certificate can list beforehand.
	ServerName string
}

type tlsPair struct{ server, client *tls.Config }

func (c *TLSConfig) load() (*tlsPair, error) {
	cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		return nil, badTLS(fmt.Sprintf("certificate %q with key %q", c.CertFile, c.KeyFile), err)
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, badTLS(fmt.Sprintf("CA file %q", c.CAFile), err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, badTLS(fmt.Sprintf("CA file %q", c.CAFile), errors.New("no certificate in it"))
	}
	server := &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    roots,
		NextProtos:   []string{"h2"},
	}
	client := &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		RootCAs:      roots,
		ServerName:   c.ServerName,
		NextProtos:   []string{"h2"},
	}
	if c.ServerName == "" {
		// Only the check of the name is left out; VerifyConnection does all the rest, and runs on resumption too.
		client.InsecureSkipVerify = true
		client.VerifyConnection = func(cs tls.ConnectionState) error { return verifyChain(cs, roots) }
	}
	return &tlsPair{server: server, client: client}, nil
}

func verifyChain(cs tls.ConnectionState, roots *x509.CertPool) error {
	if len(cs.PeerCertificates) == 0 {
		return errors.New("the peer showed no certificate")
	}
	between := x509.NewCertPool()
	for _, c := range cs.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return err
}

func badTLS(what string, err error) error {
	return errcode.New(errcode.InvalidArgument, "read TLS files", what).Wrap(err)
}
