package tls

import (
	cryptotls "crypto/tls"
	"errors"
	"strings"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftmesh/weft/internal/proxy/field"
)

// parameters puts versions, ciphers and curves in a configuration. signature_algorithms cannot be chosen with crypto/tls and is not obeyed: it
// only tunes.
func parameters(m *tlsv3.TlsParameters, c *cryptotls.Config) error {
	if err := field.Only(m, "tls_minimum_protocol_version", "tls_maximum_protocol_version", "cipher_suites", "ecdh_curves", "signature_algorithms"); err != nil {
		return err
	}
	var err error
	if c.MinVersion, err = version(m.GetTlsMinimumProtocolVersion(), cryptotls.VersionTLS12); err != nil {
		return field.In("tls_minimum_protocol_version", err)
	}
	if c.MaxVersion, err = version(m.GetTlsMaximumProtocolVersion(), cryptotls.VersionTLS13); err != nil {
		return field.In("tls_maximum_protocol_version", err)
	}
	if c.MinVersion > c.MaxVersion {
		return field.Errorf("tls_minimum_protocol_version", "is above the maximum")
	}
	for i, names := range m.GetCipherSuites() {
		// [A|B] is a group of equal preference; the order is Go's in any case.
		for name := range strings.SplitSeq(strings.Trim(names, "[]"), "|") {
			id := suites[name]
			if id == 0 {
				return field.At("cipher_suites", i, errors.New(name+" is not known to this proxy"))
			}
			c.CipherSuites = append(c.CipherSuites, id)
		}
	}
	for i, name := range m.GetEcdhCurves() {
		id := curves[name]
		if id == 0 {
			return field.At("ecdh_curves", i, errors.New(name+" is not known to this proxy"))
		}
		c.CurvePreferences = append(c.CurvePreferences, id)
	}
	return nil
}

func version(v tlsv3.TlsParameters_TlsProtocol, auto uint16) (uint16, error) {
	switch v {
	case tlsv3.TlsParameters_TLS_AUTO:
		return auto, nil
	case tlsv3.TlsParameters_TLSv1_0:
		return cryptotls.VersionTLS10, nil
	case tlsv3.TlsParameters_TLSv1_1:
		return cryptotls.VersionTLS11, nil
	case tlsv3.TlsParameters_TLSv1_2:
		return cryptotls.VersionTLS12, nil
	case tlsv3.TlsParameters_TLSv1_3:
		return cryptotls.VersionTLS13, nil
	}
	return 0, errors.New("not known to this proxy")
}

// suites are the cipher suites by the names that OpenSSL gives them.
var suites = map[string]uint16{
	"ECDHE-ECDSA-AES128-GCM-SHA256": cryptotls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-RSA-AES128-GCM-SHA256":   cryptotls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-ECDSA-AES256-GCM-SHA384": cryptotls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-RSA-AES256-GCM-SHA384":   cryptotls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-ECDSA-CHACHA20-POLY1305": cryptotls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-RSA-CHACHA20-POLY1305":   cryptotls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-ECDSA-AES128-SHA256":     cryptotls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256,
	"ECDHE-RSA-AES128-SHA256":       cryptotls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256,
	"ECDHE-ECDSA-AES128-SHA":        cryptotls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
	"ECDHE-RSA-AES128-SHA":          cryptotls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
	"ECDHE-ECDSA-AES256-SHA":        cryptotls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
	"ECDHE-RSA-AES256-SHA":          cryptotls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	"AES128-GCM-SHA256":             cryptotls.TLS_RSA_WITH_AES_128_GCM_SHA256,
	"AES256-GCM-SHA384":             cryptotls.TLS_RSA_WITH_AES_256_GCM_SHA384,
	"AES128-SHA256":                 cryptotls.TLS_RSA_WITH_AES_128_CBC_SHA256,
	"AES128-SHA":                    cryptotls.TLS_RSA_WITH_AES_128_CBC_SHA,
	"AES256-SHA":                    cryptotls.TLS_RSA_WITH_AES_256_CBC_SHA,
	"DES-CBC3-SHA":                  cryptotls.TLS_RSA_WITH_3DES_EDE_CBC_SHA,
}

var curves = map[string]cryptotls.CurveID{
	"X25519": cryptotls.X25519, "P-256": cryptotls.CurveP256, "P-384": cryptotls.CurveP384, "P-521": cryptotls.CurveP521,
	"prime256v1": cryptotls.CurveP256, "secp384r1": cryptotls.CurveP384, "secp521r1": cryptotls.CurveP521,
	"X25519MLKEM768": cryptotls.X25519MLKEM768,
}
