package record

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"fmt"
	"hash"
)

// suite is a cipher suite: AES-GCM with keys of so many bytes.
type suite struct {
	hash    func() hash.Hash
	secret  int // bytes of a traffic secret: the hash's
	key     int
	records uint64 // to be sealed with one key
}

// maxRecords is below AES-GCM's limit of 24 million full records, RFC 8446 §5.5.
const maxRecords = 1 << 24

var (
	aes128 = suite{hash: sha256.New, secret: sha256.Size, key: 16, records: maxRecords}
	aes256 = suite{hash: sha512.New384, secret: sha512.Size384, key: 32, records: maxRecords}
)

func suiteOf(id uint16) *suite {
	switch id {
	case tls.TLS_AES_128_GCM_SHA256:
		return &aes128
	case tls.TLS_AES_256_GCM_SHA384:
		return &aes256
	default:
		return nil
	}
}

// Allowed reports whether a Layer may be used at all. In FIPS 140 mode only
// crypto/tls's own record layer is approved.
func Allowed() bool { return !fips140.Enabled() }

// expand is HKDF-Expand-Label without a context, RFC 8446 §7.1.
func (s *suite) expand(secret []byte, label string, n int) ([]byte, error) {
	label = "tls13 " + label
	info := string([]byte{byte(n >> 8), byte(n), byte(len(label))}) + label + "\x00"
	b, err := hkdf.Expand(s.hash, secret, info, n)
	if err != nil {
		return nil, fmt.Errorf("derive TLS key: %w", err)
	}
	return b, nil
}

// aead makes the cipher of a traffic secret, and the mask of its nonces.
func (s *suite) aead(secret []byte) (cipher.AEAD, []byte, error) {
	key, err := s.expand(secret, "key", s.key)
	if err != nil {
		return nil, nil, err
	}
	iv, err := s.expand(secret, "iv", nonceSize)
	if err != nil {
		return nil, nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, nil, fmt.Errorf("make TLS cipher: %w", err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, nil, fmt.Errorf("make TLS cipher: %w", err)
	}
	return gcm, iv, nil
}
