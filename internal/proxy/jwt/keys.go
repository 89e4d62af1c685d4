package jwt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rsa"
	_ "crypto/sha256" // the hashes of the algorithms
	_ "crypto/sha512"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
)

// Keys is a JWK set. It does not change.
type Keys struct{ all []key }

// key is one that verifies.
type key struct {
	id, algorithm string // "" is any
	verifier      verifier
}

// verifier checks signatures of some algorithms.
type verifier interface {
	verify(t *Token) bool
	takes(algorithm string) bool
}

const (
	maxKeys    = 100
	maxRSABits = 8192 // what verifying costs grows with it
)

// ParseKeys reads a JWK set. Keys that are not known, or broken, are passed over (RFC 7517 section 5); the error says that none is left.
func ParseKeys(text []byte) (*Keys, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, err
	}
	k := &Keys{}
	for _, raw := range set.Keys {
		if one, ok := parseKey(raw); ok && len(k.all) < maxKeys {
			k.all = append(k.all, one)
		}
	}
	if len(k.all) == 0 {
		return nil, errors.New("there is no key that can verify a token")
	}
	return k, nil
}

func parseKey(raw []byte) (key, bool) {
	var m struct {
		Kty string `json:"kty"`
		Kid string `json:"kid"`
		Alg string `json:"alg"`
		Use string `json:"use"`
		Crv string `json:"crv"`
		N   string `json:"n"`
		E   string `json:"e"`
		X   string `json:"x"`
		Y   string `json:"y"`
		K   string `json:"k"`
	}
	if json.Unmarshal(raw, &m) != nil || m.Use == "enc" {
		return key{}, false
	}
	k := key{id: m.Kid, algorithm: m.Alg}
	switch m.Kty {
	case "RSA":
		n, e := number(m.N), number(m.E)
		if n == nil || e == nil || n.BitLen() < 1024 || n.BitLen() > maxRSABits || e.BitLen() > 31 || e.Int64() < 2 {
			return k, false
		}
		k.verifier = rsaKey{&rsa.PublicKey{N: n, E: int(e.Int64())}}
	case "EC":
		c := curves[m.Crv]
		x, y := decode(m.X), decode(m.Y)
		if c.curve == nil || len(x) != c.size || len(y) != c.size {
			return k, false
		}
		public, err := ecdsa.ParseUncompressedPublicKey(c.curve, append(append([]byte{4}, x...), y...))
		if err != nil {
			return k, false
		}
		k.verifier = ecKey{public, c.algorithm, c.size}
	case "OKP":
		x := decode(m.X)
		if m.Crv != "Ed25519" || len(x) != ed25519.PublicKeySize {
			return k, false
		}
		k.verifier = edKey(x)
	case "oct":
		secret := decode(m.K)
		if len(secret) == 0 {
			return k, false
		}
		k.verifier = secretKey(secret)
	default:
		return k, false
	}
	return k, m.Alg == "" || k.verifier.takes(m.Alg)
}

func decode(text string) []byte {
	b, err := encoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return nil
	}
	return b
}

func number(text string) *big.Int {
	b := decode(text)
	if len(b) == 0 || len(b) > maxRSABits/8+1 {
		return nil
	}
	return new(big.Int).SetBytes(b)
}

// Verify tells whether one of the keys has signed the token. Keys that have another ID or are for another algorithm than the token says are not
// tried.
func (k *Keys) Verify(t *Token) Status {
	tried := false
	for i := range k.all {
		one := &k.all[i]
		if t.KeyID != "" && one.id != "" && t.KeyID != one.id || one.algorithm != "" && one.algorithm != t.Algorithm {
			continue
		}
		tried = true
		if one.verifier.takes(t.Algorithm) && one.verifier.verify(t) {
			return OK
		}
	}
	if !tried {
		return NoSuchKey
	}
	return NotVerified
}

// hashes by the number in an algorithm's name.
func hashOf(algorithm string) crypto.Hash {
	switch algorithm[2:] {
	case "256":
		return crypto.SHA256
	case "384":
		return crypto.SHA384
	}
	return crypto.SHA512
}

func sum(h crypto.Hash, text string) []byte {
	s := h.New()
	_, _ = s.Write([]byte(text))
	return s.Sum(nil)
}

type rsaKey struct{ *rsa.PublicKey }

func (k rsaKey) takes(algorithm string) bool {
	return strings.HasPrefix(algorithm, "RS") || strings.HasPrefix(algorithm, "PS")
}

func (k rsaKey) verify(t *Token) bool {
	h := hashOf(t.Algorithm)
	if t.Algorithm[0] == 'R' {
		return rsa.VerifyPKCS1v15(k.PublicKey, h, sum(h, t.signed), t.signature) == nil
	}
	return rsa.VerifyPSS(k.PublicKey, h, sum(h, t.signed), t.signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
}

// curves are those of RFC 7518 section 6.2.1.1, each with its algorithm.
var curves = map[string]struct {
	curve     elliptic.Curve
	algorithm string
	size      int // of a coordinate, in bytes
}{
	"P-256": {elliptic.P256(), "ES256", 32}, "P-384": {elliptic.P384(), "ES384", 48}, "P-521": {elliptic.P521(), "ES512", 66},
}

type ecKey struct {
	*ecdsa.PublicKey
	algorithm string
	size      int
}

func (k ecKey) takes(algorithm string) bool { return algorithm == k.algorithm }

func (k ecKey) verify(t *Token) bool {
	if len(t.signature) != 2*k.size {
		return false
	}
	r, s := new(big.Int).SetBytes(t.signature[:k.size]), new(big.Int).SetBytes(t.signature[k.size:])
	return ecdsa.Verify(k.PublicKey, sum(hashOf(t.Algorithm), t.signed), r, s)
}

type edKey ed25519.PublicKey

func (k edKey) takes(algorithm string) bool { return algorithm == "EdDSA" }

func (k edKey) verify(t *Token) bool {
	return ed25519.Verify(ed25519.PublicKey(k), []byte(t.signed), t.signature)
}

type secretKey []byte

func (k secretKey) takes(algorithm string) bool { return strings.HasPrefix(algorithm, "HS") }

func (k secretKey) verify(t *Token) bool {
	h := hmac.New(hashOf(t.Algorithm).New, k)
	_, _ = h.Write([]byte(t.signed))
	return hmac.Equal(h.Sum(nil), t.signature)
}
