package tls

import (
	"context"
	cryptotls "crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
)

// Failure is why a handshake failed, in a word for a metric.
type Failure uint8

// The reasons there are.
const (
	// OtherFailure is what has no word of its own.
	OtherFailure Failure = iota
	// PeerGone: the other end went away, or said nothing for too long.
	PeerGone
	// NotTLS: what the other end says is no TLS.
	NotTLS
	// WrongVersion: it speaks no version of TLS that is allowed.
	WrongVersion
	// NoCertificate: it has shown none where one is required.
	NoCertificate
	// UnknownAuthority: its certificate is of an authority that is not trusted.
	UnknownAuthority
	// Expired: its certificate is not valid any more, or not yet.
	Expired
	// WrongName: the certificate is good, and not of whom is wanted.
	WrongName
	// BadCertificate is any other that is refused.
	BadCertificate
	// PeerRefused: the other end did not accept us.
	PeerRefused
	// NoSecret: our own certificate, or whom we trust, is not there yet.
	NoSecret
	// Failures is how many there are.
	Failures
)

// String is the word.
func (f Failure) String() string {
	return [...]string{
		OtherFailure: "other", PeerGone: "gone", NotTLS: "not_tls", WrongVersion: "version", NoCertificate: "no_certificate", UnknownAuthority: "unknown_ca",
		Expired: "expired", WrongName: "name", BadCertificate: "bad_certificate", PeerRefused: "refused_by_peer", NoSecret: "no_secret",
	}[f]
}

// refusal is an error of a known reason.
type refusal struct {
	error
	why Failure
}

func (r *refusal) Unwrap() error { return r.error }

func refuse(why Failure, err error) error { return &refusal{err, why} }

// FailureOf tells why a handshake failed by its error, which is not nil.
func FailureOf(err error) Failure {
	var (
		known     *refusal
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
		name      x509.HostnameError
		header    cryptotls.RecordHeaderError
		network   *net.OpError
		timeout   net.Error
	)
	switch {
	case errors.As(err, &known):
		return known.why
	case errors.As(err, &authority):
		return UnknownAuthority
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return Expired
	case errors.As(err, &invalid):
		return BadCertificate
	case errors.As(err, &name):
		return WrongName
	case errors.As(err, &header):
		return NotTLS
	case errors.As(err, &network) && network.Op == "remote error":
		return PeerRefused
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.Canceled), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded):
		return PeerGone
	}
	// crypto/tls has no types for these.
	switch text := err.Error(); {
	case text == "tls: client didn't provide a certificate":
		return NoCertificate
	case strings.HasPrefix(text, "tls: client offered only unsupported versions"), strings.HasPrefix(text, "tls: server selected unsupported protocol version"):
		return WrongVersion
	}
	return OtherFailure
}
