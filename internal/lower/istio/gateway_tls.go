package istio

import (
	"cmp"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/model"
)

// serverTLS says how a server of protocol HTTPS (http) or TLS treats TLS; false is that it must not be opened.
func serverTLS(t *networking.ServerTLSSettings, http bool, out *model.Server, s spot) bool {
	if t.HttpsRedirect {
		s.in("httpsRedirect").warnf(codeNoEffect, "has an effect on plaintext servers only")
	}
	switch t.Mode {
	case networking.ServerTLSSettings_PASSTHROUGH:
		if t.CredentialName != "" || len(t.CredentialNames) > 0 || hasFiles(t) {
			s.warnf(codeNoEffect, "TLS is passed through, and certificates have no effect")
		}
		out.Protocol = model.ServePassthrough
		return true
	case networking.ServerTLSSettings_SIMPLE, networking.ServerTLSSettings_MUTUAL, networking.ServerTLSSettings_OPTIONAL_MUTUAL:
	default:
		s.in("mode").errorf(codeUnsupported, "%v is not supported; the server is left out", t.Mode)
		return false
	}
	if !http {
		out.Protocol = model.ServeTCP
	}
	out.TLS = &model.ServerTLS{Credentials: credentials(t, s), CipherSuites: ciphers(t.CipherSuites, s)}
	if len(out.TLS.Credentials) == 0 || !versions(t, out.TLS, s) {
		return false
	}
	return t.Mode == networking.ServerTLSSettings_SIMPLE || clientTLS(t, out.TLS, s)
}

// clientTLS says how client certificates are verified. What would let in fewer of them than can be said costs the server.
func clientTLS(t *networking.ServerTLSSettings, out *model.ServerTLS, s spot) bool {
	out.ClientOptional = t.Mode == networking.ServerTLSSettings_OPTIONAL_MUTUAL
	out.ClientSANs = t.SubjectAltNames
	ca := out.Credentials[0]
	ca.Name += "-cacert" // which Istio takes to be the Secret of that name, or else the key ca.crt of the credential
	if t.CaCertCredentialName != "" {
		var ok bool
		if ca, ok = secretName(t.CaCertCredentialName, s.in("caCertCredentialName")); !ok {
			return false
		}
	}
	out.ClientCA = &ca
	strict := true
	for _, f := range []struct {
		field string
		set   bool
	}{{"caCrl", t.CaCrl != ""}, {"verifyCertificateSpki", len(t.VerifyCertificateSpki) > 0}, {"verifyCertificateHash", len(t.VerifyCertificateHash) > 0}} {
		if f.set {
			s.in(f.field).errorf(codeUnsupported, "is not supported; the server is left out, because it would let in clients that are to be refused")
			strict = false
		}
	}
	if t.InsecureSkipVerify.GetValue() {
		s.in("insecureSkipVerify").warnf(codeUnsupported, "is not supported; client certificates are verified")
	}
	return strict
}

// credentials gives the Secrets of a server, in order. Without a namespace they are in that of the gateway's proxies.
func credentials(t *networking.ServerTLSSettings, s spot) (out []model.ObjectName) {
	if hasFiles(t) {
		s.errorf(codeUnsupported, "serverCertificate, privateKey, caCertificates and tlsCertificates name files, which is not supported: use credentialName")
	}
	if t.CredentialName != "" {
		if len(t.CredentialNames) > 0 {
			s.in("credentialNames").errorf(codeConflict, "has no effect beside credentialName")
		}
		if n, ok := secretName(t.CredentialName, s.in("credentialName")); ok {
			out = append(out, n)
		}
		return out
	}
	if len(t.CredentialNames) == 0 {
		s.in("credentialName").errorf(codeMissing, "mode %v needs it; the server is left out", t.Mode)
	}
	for i, name := range t.CredentialNames {
		if n, ok := secretName(name, s.at("credentialNames", i)); ok {
			out = append(out, n)
		}
	}
	return out
}

func hasFiles(t *networking.ServerTLSSettings) bool {
	return t.ServerCertificate != "" || t.PrivateKey != "" || t.CaCertificates != "" || len(t.TlsCertificates) > 0
}

// secretName reads NAME, NAMESPACE/NAME, or either after kubernetes://.
func secretName(in string, s spot) (out model.ObjectName, ok bool) {
	out.Name = strings.TrimPrefix(in, "kubernetes://")
	ok = true
	if namespace, name, both := strings.Cut(out.Name, "/"); both {
		out, ok = model.ObjectName{Namespace: namespace, Name: name}, wrongName(namespace) == ""
	}
	if !ok || wrongName(out.Name) != "" {
		s.errorf(codeName, "%q is not the name of a Secret", in)
		return model.ObjectName{}, false
	}
	return out, true
}

func versions(t *networking.ServerTLSSettings, out *model.ServerTLS, s spot) bool {
	table := map[networking.ServerTLSSettings_TLSProtocol]model.TLSVersion{
		networking.ServerTLSSettings_TLS_AUTO: 0, networking.ServerTLSSettings_TLSV1_0: model.TLS10, networking.ServerTLSSettings_TLSV1_1: model.TLS11,
		networking.ServerTLSSettings_TLSV1_2: model.TLS12, networking.ServerTLSSettings_TLSV1_3: model.TLS13,
	}
	out.MinVersion, out.MaxVersion = table[t.MinProtocolVersion], table[t.MaxProtocolVersion]
	if out.MaxVersion != 0 && cmp.Or(out.MinVersion, model.TLS12) > out.MaxVersion {
		s.in("maxProtocolVersion").errorf(codeTLS, "%v is below the lowest version that is allowed; the server is left out", t.MaxProtocolVersion)
		return false
	}
	if out.MinVersion != 0 && out.MinVersion < model.TLS12 && len(out.CipherSuites) == 0 {
		s.in("minProtocolVersion").warnf(codeTLS, "%v needs cipherSuites that it can use: the default ones are of later versions", t.MinProtocolVersion)
	}
	return true
}

// cipherSuites are what Istio takes, by OpenSSL's names.
var cipherSuites = []string{
	"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
	"ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA",
	"ECDHE-RSA-AES256-SHA", "AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-SHA", "AES256-SHA", "DES-CBC3-SHA",
}

func ciphers(list []string, s spot) (out []string) {
	for i, c := range list {
		switch {
		case !slices.Contains(cipherSuites, c):
			s.at("cipherSuites", i).warnf(codeValue, "%q is not a cipher suite that is known; it is left out", c)
		case slices.Contains(out, c):
			s.at("cipherSuites", i).warnf(codeDoubled, "%q is named before", c)
		default:
			out = append(out, c)
		}
	}
	return out
}
