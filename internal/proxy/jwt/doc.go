// Package jwt reads JSON Web Tokens (RFC 7519) and the key sets that verify them (RFC 7517), as far as a proxy needs: signatures, not encryption.
//
// It owns what a token says and whether a key has signed it. Times, audiences and where tokens are found are for who asks. Keys only verify, with the
// algorithms of their own kind: RS, PS, ES, EdDSA, and HS with keys that are declared as secrets ("oct"); "none" is no algorithm. Bytes from outside
// never cause a panic, and what verifying may cost is bounded.
package jwt
