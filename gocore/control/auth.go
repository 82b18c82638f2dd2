package control

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"

	"mooncake_te/gocore/control/controlpb"
	"mooncake_te/gocore/errcode"
)

// role keeps the two proofs of one handshake apart, so that neither can be sent back to its maker, and both from those
// of Describe.
type role string

const (
	roleDialler   role = "mooncake_te session dialler"
	roleAcceptor  role = "mooncake_te session acceptor"
	roleCaller    role = "mooncake_te describe caller"
	roleDescriber role = "mooncake_te describe owner"
)

func newNonce() []byte {
	b := make([]byte, nonceLen)
	_, _ = rand.Read(b) // never fails; see crypto/rand
	return b
}

// prove is HMAC-SHA256 over the role, both nonces, both instance IDs and both protocol ranges. All fields have a fixed
// length (checkHello), so no two handshakes share a text.
func prove(key []byte, r role, dialler, acceptor *controlpb.Hello) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(r))
	for _, h := range [...]*controlpb.Hello{dialler, acceptor} {
		m.Write(h.GetNonce())
		m.Write(h.GetInstance())
		var v [8]byte
		binary.LittleEndian.PutUint32(v[0:], h.GetProtocolMin())
		binary.LittleEndian.PutUint32(v[4:], h.GetProtocolMax())
		m.Write(v[:])
	}
	return m.Sum(nil)
}

// proveDescribe is the same for Describe: over the nonce of the caller and fixed-length parts.
func proveDescribe(key []byte, r role, nonce []byte, parts ...[]byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(r))
	m.Write(nonce)
	for _, p := range parts {
		m.Write(p)
	}
	return m.Sum(nil)
}

// checkKeys says what is wrong when only one side has a key.
func checkKeys(op string, here, there bool) error {
	switch {
	case here && !there:
		return refusedKey(op, "a pre-shared key is configured here, and the peer showed none")
	case there && !here:
		return refusedKey(op, "the peer wants a pre-shared key, and none is configured here")
	}
	return nil
}

// checkProof compares in constant time.
func checkProof(op string, key, got, want []byte) error {
	if err := checkKeys(op, len(key) > 0, len(got) > 0); err != nil {
		return err
	}
	if len(key) > 0 && !hmac.Equal(got, want) {
		return refusedKey(op, "the pre-shared keys of the two sides differ")
	}
	return nil
}

func refusedKey(op, detail string) error {
	return errcode.New(errcode.MetadataRefused, op, detail).WithHint("configure the same key on both sides")
}
