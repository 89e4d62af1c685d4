// Package istioca is Istio's certificate service on the wire (istio.v1.auth.IstioCertificateService): its two messages, how a server offers it, and how
// a client calls it.
//
// Istio's own module has the same, generated. It is not used here because a program for Pods links none of Istio, and because two packages that register
// the same messages cannot be in one program. The package signs nothing and trusts nobody: that is for who serves and who calls.
package istioca
